package differential

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/child"
	"github.com/comptoir/comptoir/test/broker/wire"
	"github.com/comptoir/comptoir/test/testenv"
)

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

// kase is one thing to ask: all versions of the request key that both brokers
// speak are gone through.
type kase struct {
	key  kmsg.Key
	name string
	ask  func(s *session)
}

// subjects are the cases, by file.
var subjects = map[string][]kase{
	"produce": produceCases, "records": recordCases, "fetch": fetchCases, "offsets": offsetCases, "metadata": metadataCases,
	"topics": topicCases, "configs": configCases, "groups": groupCases, "members": memberCases,
	"transactions": transactionCases, "producers": producerCases, "others": otherCases,
}

func TestDifferential(t *testing.T) {
	kafka := testenv.Kafka(t)
	p := child.New(t, child.Config{Engine: os.Getenv("COMPTOIR_DIFFERENTIAL_ENGINE"), Dir: t.TempDir()})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	addr, _ := p.Started()
	theirs, ours := announced(t, kafka), announced(t, addr)
	both := map[kmsg.Key]span{}
	for key, o := range ours {
		k, ok := theirs[key]
		if !ok {
			t.Errorf("we announce %s, Apache Kafka does not", kmsg.NameForKey(int16(key)))
			continue
		}
		if o.low < k.low || o.high > k.high {
			t.Errorf("we announce %s %d to %d, Apache Kafka %d to %d", kmsg.NameForKey(int16(key)), o.low, o.high, k.low, k.high)
		}
		both[key] = span{max(o.low, k.low), min(o.high, k.high)}
	}
	for key := range theirs {
		if _, ok := ours[key]; !ok && notSpoken[key] == "" {
			t.Errorf("Apache Kafka speaks %s, we do not, and no reason is given", kmsg.NameForKey(int16(key)))
		}
	}
	for key := range notSpoken {
		if _, ok := ours[key]; ok {
			t.Errorf("we speak %s, and the table says that we do not", kmsg.NameForKey(int16(key)))
		}
	}
	coordinated(t, kafka, both)
	coordinated(t, addr, both)
	// Announced for old clients of librdkafka, which do not use them, and answered by neither.
	both[kmsg.Produce] = span{max(both[kmsg.Produce].low, 3), both[kmsg.Produce].high}
	run := fmt.Sprintf("d%x-", time.Now().UnixNano()&0xffffffff)
	var used used
	var met met
	// In a group, which ends when all its cases have.
	t.Run("case", func(t *testing.T) {
		for subject, cases := range subjects {
			for n, c := range cases {
				first := n == 0 || !slices.ContainsFunc(cases[:n], func(o kase) bool { return o.key == c.key })
				versions, ok := both[c.key]
				if !ok {
					t.Logf("%s: %s is not spoken by both", c.name, kmsg.NameForKey(int16(c.key)))
					continue
				}
				t.Run(kmsg.NameForKey(int16(c.key))+"/"+strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
					t.Parallel()
					found := map[string][]int16{} // difference, versions
					for _, v := range versions.some(n, first) {
						var got [2][]string
						for i, addr := range []string{kafka, addr} {
							s := &session{t: t, side: [...]string{"kafka", "ours"}[i], addr: addr, key: c.key, version: v, ranges: both, met: &met,
								prefix: fmt.Sprintf("%s%s-%d-%d-", run, subject, n, v)}
							c.ask(s)
							s.close()
							got[i] = s.lines
						}
						if len(got[0]) == 0 {
							t.Errorf("the case notes nothing of version %d", v)
						}
						for _, d := range unlisted(c, v, diff(got[0], got[1]), &used) {
							found[d] = append(found[d], v)
						}
					}
					for _, d := range slices.Sorted(maps.Keys(found)) {
						t.Errorf("%s, versions %v", d, found[d])
					}
				})
			}
		}
	})
	whole := !slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, "TestDifferential/") })
	if !whole {
		return
	}
	met.complain(t, both)
	for i, d := range intended {
		if !used.has(i) {
			t.Errorf("the difference %q of %q (%s) does not exist any more: take it out of the table", d.path, d.name, d.reason)
		}
	}
}

// coordinated returns when groups and transactions have a coordinator: the topics
// for them are made when a broker is asked first, which takes Apache Kafka its time.
func coordinated(t *testing.T, addr string, both map[kmsg.Key]span) {
	t.Helper()
	s := &session{t: t, side: addr, addr: addr, key: -1, ranges: both, prefix: "warm-"}
	defer s.close()
	x := s.name("x")
	for range 6 { // of settleLimit each
		s.quiet(coordinator(0, x))
		s.quiet(coordinator(1, x))
		offsets, ok := s.quiet(&kmsg.DescribeGroupsRequest{Groups: []string{x}}).(*kmsg.DescribeGroupsResponse)
		producer, fine := s.quiet(initProducer(&x)).(*kmsg.InitProducerIDResponse)
		if ok && fine && !unready(offsets) && producer.ErrorCode == 0 {
			return
		}
	}
	t.Fatalf("%s has no coordinators", addr)
}

// some are the versions that a case goes through: the lowest, the highest, and
// one that changes from case to case; all of them for the first case of its kind in
// a file, and where there is time.
func (r span) some(n int, first bool) (list []int16) {
	for v := r.low; v <= r.high; v++ {
		if first || v == r.low || v == r.high || int(v-r.low) == n%int(r.high-r.low+1) || os.Getenv("COMPTOIR_DIFFERENTIAL_ALL") != "" {
			list = append(list, v)
		}
	}
	return list
}

// unlisted are the differences that are not intended.
func unlisted(c kase, version int16, differences []complaint, used *used) (rest []string) {
	for _, d := range differences {
		if i := slices.IndexFunc(intended, func(x difference) bool { return x.covers(c, version, d) }); i >= 0 {
			used.add(i)
			continue
		}
		rest = append(rest, d.String())
	}
	return rest
}

// used are the intended differences that were met.
type used struct {
	mu  sync.Mutex
	met map[int]bool
}

func (u *used) add(i int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.met == nil {
		u.met = map[int]bool{}
	}
	u.met[i] = true
}

func (u *used) has(i int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.met[i]
}

// announced is what a broker says it speaks.
func announced(t *testing.T, addr string) map[kmsg.Key]span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
	defer cancel()
	conn, err := wire.Dial(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	resp, err := conn.Do(ctx, &kmsg.ApiVersionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	spoken := map[kmsg.Key]span{}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		spoken[kmsg.Key(k.ApiKey)] = span{k.MinVersion, k.MaxVersion}
	}
	return spoken
}

package differential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// answerLimit is how long one answer may take, and settleLimit how long a broker
// may say that it is not ready yet.
const (
	answerLimit = 15 * time.Second
	settleLimit = 10 * time.Second
)

// session is one case on one broker: what it sends is the same on both, what it
// gets is its transcript.
type session struct {
	t       *testing.T
	side    string // kafka or ours
	addr    string
	key     kmsg.Key
	version int16
	ranges  map[kmsg.Key]span // what both speak
	prefix  string
	conns   []*wire.Conn
	current int
	lines   []string
	answers int // noted
	// patience, if it is not 0, takes the place of answerLimit.
	patience time.Duration
	met      *met
	names    names
}

// span is a range of versions, both ends included.
type span struct{ low, high int16 }

// name is a topic, group or transactional id of this case alone.
func (s *session) name(n string) string { return s.prefix + n }

// on lets what follows go by another connection, as of another client.
func (s *session) on(n int) { s.current = n }

func (s *session) conn() *wire.Conn {
	for len(s.conns) <= s.current {
		s.conns = append(s.conns, nil)
	}
	if s.conns[s.current] == nil {
		ctx, cancel := context.WithTimeout(s.t.Context(), answerLimit)
		defer cancel()
		c, err := wire.Dial(ctx, s.addr)
		if err != nil {
			s.t.Fatalf("%s: %v", s.side, err)
		}
		s.conns[s.current] = c
	}
	return s.conns[s.current]
}

func (s *session) close() {
	for _, c := range s.conns {
		if c != nil {
			c.Close()
		}
	}
}

// note adds a line to the transcript.
func (s *session) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// send sends the request, in the version under test if it is the case's, else in
// the highest that both speak, and notes the answer. The answer is nil if the
// connection was closed instead.
func (s *session) send(req kmsg.Request) kmsg.Response {
	s.t.Helper()
	resp := s.quiet(req)
	s.write(req, resp)
	return resp
}

func (s *session) write(req kmsg.Request, resp kmsg.Response) {
	// Numbered: the answers to two requests are not to be taken for each other.
	s.answers++
	what := fmt.Sprintf("%d. %s", s.answers, kmsg.NameForKey(req.Key()))
	if resp == nil {
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			s.note("%s=no answer", what)
		}
		return
	}
	for _, l := range s.names.flatten(resp) {
		s.note("%s %s", what, l)
	}
}

// quiet is send without a note, for what only prepares.
func (s *session) quiet(req kmsg.Request) kmsg.Response {
	s.t.Helper()
	s.fit(req)
	for end := time.Now().Add(settleLimit); ; {
		resp := s.once(req)
		if resp == nil || time.Now().After(end) || !unready(resp) {
			return resp
		}
		time.Sleep(20 * time.Millisecond) // between two questions, not for a condition
	}
}

func (s *session) fit(req kmsg.Request) {
	key := kmsg.Key(req.Key())
	if key == s.key {
		req.SetVersion(s.version)
		return
	}
	r, ok := s.ranges[key]
	if !ok {
		s.t.Skipf("%s is not spoken by both", kmsg.NameForKey(req.Key()))
	}
	req.SetVersion(min(r.high, topmost(key)))
}

// topmost is the highest version that cases prepare with: later ones of Fetch
// and Produce name topics by id, which is theirs to test.
func topmost(key kmsg.Key) int16 {
	switch key {
	case kmsg.Fetch, kmsg.Produce:
		return 12
	case kmsg.OffsetCommit, kmsg.OffsetFetch:
		return 7
	}
	return 1000
}

func (s *session) once(req kmsg.Request) kmsg.Response {
	ctx, cancel := context.WithTimeout(s.t.Context(), cmp.Or(s.patience, answerLimit))
	defer cancel()
	resp, err := s.conn().Do(ctx, req)
	s.met.add(req, resp)
	if err != nil {
		s.conns[s.current].Close()
		s.conns[s.current] = nil
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			s.note("%d. %s: how=no answer in time", s.answers+1, kmsg.NameForKey(req.Key()))
		}
		return nil
	}
	return resp
}

// later sends without waiting, by the present connection; the function it returns
// waits for the answer and notes it.
func (s *session) later(req kmsg.Request) (wait func() kmsg.Response) {
	s.t.Helper()
	s.fit(req)
	conn, answer := s.conn(), make(chan kmsg.Response, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
		defer cancel()
		resp, err := conn.Do(ctx, req)
		if err != nil {
			resp = nil
		}
		s.met.add(req, resp)
		answer <- resp
	}()
	return func() kmsg.Response {
		resp := <-answer
		s.write(req, resp)
		return resp
	}
}

// unready says that the answer is one of a broker that is busy with what was
// asked before; ours never needs to be, so such answers are asked for again.
func unready(resp kmsg.Response) bool {
	codes := []int16{kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code, kerr.NotCoordinator.Code,
		kerr.ConcurrentTransactions.Code, kerr.LeaderNotAvailable.Code}
	found := false
	walk(resp, func(name string, v any) {
		if code, ok := v.(int16); ok && name == "ErrorCode" && slices.Contains(codes, code) {
			found = true
		}
	})
	return found
}

// until asks again until the condition holds, on both brokers alike.
func (s *session) until(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(settleLimit); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.note("not within %v: %s", settleLimit, what)
			return
		}
	}
}

// topic makes a topic and returns when it can be used; settings are names and
// values in turn.
func (s *session) topic(n string, partitions int32, settings ...string) string {
	s.t.Helper()
	name := s.name(n)
	t := kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i < len(settings); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: settings[i], Value: &settings[i+1]})
	}
	s.aside(func() {
		s.quiet(&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{t}, TimeoutMillis: 10_000})
		for p := range partitions {
			s.until(name+" is there", func() bool {
				resp, ok := s.quiet(listOffsets(name, p, -1)).(*kmsg.ListOffsetsResponse)
				return ok && resp.Topics[0].Partitions[0].ErrorCode == 0
			})
		}
	})
	return name
}

// aside does what is not under test: its requests have the versions of others.
func (s *session) aside(do func()) {
	key := s.key
	s.key = -1
	defer func() { s.key = key }()
	do()
}

// topicID is the id of a topic.
func (s *session) topicID(name string) (id [16]byte) {
	s.aside(func() {
		if m, ok := s.quiet(metadata(name)).(*kmsg.MetadataResponse); ok {
			id = m.Topics[0].TopicID
		}
	})
	return id
}

func listOffsets(topic string, partition int32, at int64) *kmsg.ListOffsetsRequest {
	return &kmsg.ListOffsetsRequest{ReplicaID: -1, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: topic,
		Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: partition, Timestamp: at, CurrentLeaderEpoch: -1, MaxNumOffsets: 1}}}}}
}

// complaint is a line that one of two transcripts has and the other has not.
type complaint struct {
	kafka       bool // it is Apache Kafka's
	path, value string
}

func (c complaint) String() string {
	side := "ours "
	if c.kafka {
		side = "kafka"
	}
	return side + " " + c.path + "=" + c.value
}

// diff compares two transcripts.
func diff(kafka, ours []string) (list []complaint) {
	for _, d := range []struct {
		kafka   bool
		in, out []string
	}{{true, kafka, ours}, {false, ours, kafka}} {
		rest := slices.Clone(d.out)
		for _, l := range d.in {
			if i := slices.Index(rest, l); i >= 0 {
				rest = slices.Delete(rest, i, i+1)
				continue
			}
			path, value, _ := strings.Cut(l, "=")
			list = append(list, complaint{d.kafka, path, value})
		}
	}
	return list
}

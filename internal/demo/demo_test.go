package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

func noRows(context.Context, []string) (int, error) { return 0, nil }

func allRows(_ context.Context, numbers []string) (int, error) { return len(numbers), nil }

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRun(t *testing.T) {
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	for _, terminal := range []bool{false, true} {
		// The second run finds the records of the first, and sends new ids.
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			t.Setenv("NO_COLOR", "1")
			var out bytes.Buffer
			asked := 0
			archive := func(ctx context.Context, numbers []string) (int, error) {
				switch asked++; asked {
				case 1:
					return 0, errors.New("no such table") // the sink creates it with the first row
				case 2:
					return len(numbers) - 1, nil
				}
				return len(numbers), nil
			}
			s, err := Run(testContext(t), Config{Kafka: kafka, Groups: []string{fakeGroup}, Archive: archive, Out: &out, Terminal: terminal, Width: 120})
			if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			t.Logf("\n%s", strings.Join(screen(t, out.String()), "\n"))
			if len(s.Outcomes) != 20 || len(s.Missing) > 0 || len(s.Latencies) != 16 || len(s.Invoices) != 11 || s.Archived != 11 || asked < 3 {
				t.Errorf("summary %+v", s)
			}
			for _, o := range s.Outcomes {
				if !o.Kept || o.Got != o.Promised {
					t.Errorf("%+v", o)
				}
			}
			if len(s.Lags) != 1 || s.Lags[0] != (GroupLag{Group: fakeGroup}) {
				t.Errorf("lags %v", s.Lags)
			}
			text := out.String()
			for _, want := range []string{"20 orders in 21 records", "hop by hop", "11 rows for 11 invoices", "lag 0", "SORTIE"} {
				if !strings.Contains(text, want) {
					t.Errorf("nothing of %q in the output", want)
				}
			}
			if drawn := strings.Contains(text, "\x1b["); drawn != terminal {
				t.Errorf("drawn in place: %v", drawn)
			}
		})
	}
}

// fakeAPI answers as the order API does: what it accepts it brings to Kafka,
// from sequence number refuse on it refuses.
func fakeAPI(t *testing.T, kafka kclient.Config, refuse int64) (url string, accepted *atomic.Int64) {
	t.Helper()
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		o, problems, _ := event.ParseOrder(nil, body, time.Now())
		if err != nil || len(problems) > 0 || r.Method+r.URL.Path != "POST/commandes" || r.Header.Get("Content-Type") != "application/json" || accepted.Load() >= refuse {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"detail":"no such luck"}`)
			return
		}
		if err := cl.ProduceSync(r.Context(), &kgo.Record{Topic: event.TopicOrders, Key: []byte(o.Customer.ID), Value: body}).FirstErr(); err != nil {
			t.Error(err)
		}
		accepted.Add(1)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"commandeId":%s,"statut":"RECUE"}`, o.ID.AppendJSON(nil))
	}))
	t.Cleanup(func() { srv.Close(); cl.Close() })
	return srv.URL, accepted
}

// TestRunByHTTP: with an order API half of the orders take that way, and all
// end as promised.
func TestRunByHTTP(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	url, accepted := fakeAPI(t, kafka, 10)
	var out bytes.Buffer
	s, err := Run(testContext(t), Config{Kafka: kafka, API: url, Groups: []string{fakeGroup}, Archive: allRows, Out: &out})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if n := accepted.Load(); n != 10 {
		t.Errorf("%d orders went by HTTP, want 10", n)
	}
	for _, o := range s.Outcomes {
		if !o.Kept {
			t.Errorf("%+v", o)
		}
	}
	for _, want := range []string{"20 orders into commandes.ecommerce, 10 of them by HTTP", "by HTTP, a product by its name", ": a negative amount"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing of %q in the output:\n%s", want, &out)
		}
	}
}

func TestRunSaysWhyTheAPIRefuses(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	url, _ := fakeAPI(t, kafka, 2)
	_, err := Run(testContext(t), Config{Kafka: kafka, API: url, Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "-04 to "+url+"/commandes: 409 Conflict no such luck") {
		t.Errorf("error %v", err)
	}
}

// TestRunSendsAsAnyProducerWould reads what was sent.
func TestRunSendsAsAnyProducerWould(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	if _, err := Run(testContext(t), Config{Kafka: kafka, Out: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	cl, err := kafka.New(kgo.ConsumeTopics(event.TopicOrders), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	murmur2 := kgo.StickyKeyPartitioner(nil).ForTopic(event.TopicOrders)
	copies := map[string]int{}
	for n := 0; n < 21; {
		fetches := cl.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			n++
			copies[string(r.Value)]++
			if want := murmur2.Partition(r, event.DefaultPartitions); int(r.Partition) != want {
				t.Errorf("key %s in partition %d, want %d", r.Key, r.Partition, want)
			}
			if !strings.HasPrefix(string(r.Key), "CLI-") || len(r.Headers) > 0 {
				t.Errorf("key %q, headers %v", r.Key, r.Headers)
			}
		}
	}
	if len(copies) != 20 {
		t.Errorf("%d different orders", len(copies))
	}
}

func TestRunNamesOrdersThatDoNotEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		f     pipeline
		names string
	}{
		{"never answered", pipeline{spoil: without("-07", watched...)}, "-07 (promised confirmed: no verdict VALIDE in stock.verifie, "},
		{"answered twice", pipeline{spoil: doubled("-14", event.TopicNotifications)}, "-14 (promised confirmed: 2 times notification CONFIRMATION in notifications.clients);"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kafka := startKafka(t)
			tt.f.start(t, kafka)
			var out bytes.Buffer
			s, err := Run(testContext(t), Config{Kafka: kafka, Groups: []string{fakeGroup}, Out: &out, limit: time.Second})
			if err == nil || !strings.Contains(err.Error(), "1 of 20 orders did not end as promised:") || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v, want %q", err, tt.names)
			}
			kept := 0
			for _, o := range s.Outcomes {
				if o.Kept {
					kept++
				}
			}
			if kept != 19 || !strings.Contains(out.String(), "Summary") {
				t.Errorf("%d orders kept; output:\n%s", kept, &out)
			}
		})
	}
}

func TestRunSaysWhatIsNotAtRest(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	var out bytes.Buffer
	s, err := Run(testContext(t), Config{Kafka: kafka, Groups: []string{fakeGroup, "service-absent"}, Archive: noRows, Out: &out, limit: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	missing := strings.Join(s.Missing, "; ")
	if want := "the lag of service-absent is not known: there is no such group; the archive has 0 rows for 11 invoices"; missing != want {
		t.Errorf("missing %q, want %q", missing, want)
	}
	if !strings.Contains(out.String(), "not at rest: the archive has 0 rows for 11 invoices") {
		t.Errorf("output:\n%s", &out)
	}
}

// TestRunWaitsForEarlierWork holds a group up in a record that was there before
// and lets it go once the run has asked for its lag a few times.
func TestRunWaitsForEarlierWork(t *testing.T) {
	t.Parallel()
	kafka, cluster := startCluster(t)
	asked := make(chan struct{}, 3)
	cluster.ControlKey(int16(kmsg.DescribeGroups), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		select {
		case asked <- struct{}{}:
		default:
		}
		return nil, nil, false
	})
	cl, err := kafka.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: event.TopicOrders, Value: []byte("earlier")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	busy, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	(&pipeline{spoil: func(_ event.ID, answers []*kgo.Record) []*kgo.Record {
		once.Do(func() { close(busy); <-release })
		return answers
	}}).start(t, kafka)
	<-busy
	done := make(chan error, 1)
	go func() {
		_, err := Run(testContext(t), Config{Kafka: kafka, Groups: []string{fakeGroup}, Out: &bytes.Buffer{}})
		done <- err
	}()
	for range cap(asked) {
		<-asked
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(testContext(t), event.TopicOrders)
	if err != nil {
		t.Fatal(err)
	}
	sent := int64(-1) // the earlier record
	ends.Each(func(l kadm.ListedOffset) { sent += l.Offset })
	if sent != 0 {
		t.Errorf("%d orders were sent before the earlier work was done", sent)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &cancelling{when: "cmde", cancel: cancel}
	_, err := Run(ctx, Config{Kafka: kafka, Out: out, Terminal: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// cancelling cancels once something is written.
type cancelling struct {
	when   string
	cancel func()
}

func (c *cancelling) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.when) {
		c.cancel()
	}
	return len(b), nil
}

func TestRunErrors(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	full := errors.New("disk full")
	if _, err := Run(testContext(t), Config{Kafka: kafka, Out: failing{full}}); !errors.Is(err, full) {
		t.Errorf("error %v, want that of the output", err)
	}
	empty, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	_, err = Run(testContext(t), Config{Kafka: kclient.Config{Brokers: empty.ListenAddrs()}, Out: &bytes.Buffer{}})
	if !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "do they exist?") {
		t.Errorf("error %v, want one about missing topics", err)
	}
	if _, err := Run(testContext(t), Config{Kafka: kclient.Config{}, Out: &bytes.Buffer{}}); err == nil {
		t.Error("no brokers, no error")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestRunOnALowTerminal: a table that does not fit cannot be redrawn.
func TestRunOnALowTerminal(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	(&pipeline{}).start(t, kafka)
	var out bytes.Buffer
	if _, err := Run(testContext(t), Config{Kafka: kafka, Archive: allRows, Out: &out, Terminal: true, Height: 10}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b[2K") {
		t.Error("a table was drawn")
	}
}

package orderdb

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comptoir/comptoir/commerce/event"
)

func numbers(messages []Message) (out []int64) {
	for _, m := range messages {
		out = append(out, m.Number)
	}
	return out
}

func TestOutbox(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		if n, oldest, err := db.Pending(t.Context()); n != 0 || !oldest.IsZero() || err != nil {
			t.Errorf("an empty outbox has %d messages since %v (%v)", n, oldest, err)
		}
		for i := range 100 {
			s := order(fmt.Sprint(i), "", "a")
			s.Messages[0].Key = fmt.Append(nil, "client ", i%10)
			s.Messages[0].At = later(i)
			submit(t, db, s, Created)
		}
		shardOfKey := make(map[string]int)
		used := 0
		many, few := map[int]int{}, map[int]int{}
		for shard := range db.Shards() {
			many[shard], few[shard] = 1000, shard+1 // each has a limit of its own
		}
		whole, err := db.Unsent(t.Context(), many)
		if err != nil {
			t.Fatal(err)
		}
		first, err := db.Unsent(t.Context(), few)
		if err != nil {
			t.Fatal(err)
		}
		for shard := range db.Shards() {
			messages := whole[shard]
			if len(messages) > 0 {
				used++
			}
			last := make(map[string]time.Time)
			for _, m := range messages {
				key := string(m.Key)
				if s, known := shardOfKey[key]; known && s != shard {
					t.Errorf("messages of %s are in shards %d and %d", key, s, shard)
				}
				shardOfKey[key] = shard
				if !m.At.After(last[key]) {
					t.Errorf("messages of %s are out of order", key)
				}
				last[key] = m.At
			}
			equal(t, "the first ones", numbers(first[shard]), numbers(messages)[:min(shard+1, len(messages))])
			one, err := db.Unsent(t.Context(), map[int]int{shard: 1000})
			if err != nil || len(one) > 1 {
				t.Errorf("messages of %d shards (%v), of one asked for", len(one), err)
			}
			equal(t, "of one shard", numbers(one[shard]), numbers(messages))
		}
		if used < 2 {
			t.Errorf("10 clients use %d shards", used)
		}
		all := unsent(t, db)
		if n, oldest, err := db.Pending(t.Context()); n != 100 || !oldest.Equal(start) || err != nil {
			t.Errorf("%d pending since %v (%v), want 100 since %v", n, oldest, err, start)
		}

		if n, err := db.Resend(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("%d sent before anything was (%v)", n, err)
		}
		sent := numbers(all)[:60]
		for range 2 { // twice is fine
			if err := db.Sent(t.Context(), sent[:20]); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		eventually(t, "a later millisecond", func() bool { return time.Since(began) > 2*time.Millisecond })
		if err := db.Sent(t.Context(), sent[20:]); err != nil {
			t.Fatal(err)
		}
		if err := db.Sent(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		equal(t, "unsent", numbers(unsent(t, db)), numbers(all)[60:])
		if n, err := db.Resend(t.Context(), 0); n != 40 || err != nil {
			t.Errorf("%d to be sent again, want the last 40 (%v)", n, err)
		}
		equal(t, "unsent", numbers(unsent(t, db)), numbers(all)[20:])
		if n, err := db.Resend(t.Context(), time.Hour); n != 20 || err != nil {
			t.Errorf("%d to be sent again, want the other 20 (%v)", n, err)
		}
		equal(t, "all again", numbers(unsent(t, db)), numbers(all))
	})
}

func TestPrune(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		old := order("1", "old", "a")
		old.At = time.Now().Add(-23 * time.Hour)
		submit(t, db, old, Created)
		submit(t, db, order("2", "new", "a"), Created)
		all := unsent(t, db)
		if err := db.Sent(t.Context(), numbers(all)[:1]); err != nil {
			t.Fatal(err)
		}
		prune := func(now, sentBefore time.Time) {
			t.Helper()
			if done, err := db.Prune(t.Context(), now, sentBefore); !done || err != nil {
				t.Fatalf("done %v, %v", done, err)
			}
		}
		// Nothing is old enough.
		prune(time.Now(), time.Now().Add(-time.Hour))
		if n, err := db.Resend(t.Context(), time.Hour); n != 1 || err != nil {
			t.Errorf("%d messages kept, want 1 (%v)", n, err)
		}
		if _, ok, _ := db.Answer(t.Context(), "old"); !ok {
			t.Error("a key of the day is gone")
		}
		if err := db.Sent(t.Context(), numbers(all)[:1]); err != nil {
			t.Fatal(err)
		}
		prune(time.Now().Add(2*time.Hour), time.Now().Add(time.Hour))
		if n, err := db.Resend(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("%d messages kept, want none (%v)", n, err)
		}
		equal(t, "unsent", numbers(unsent(t, db)), numbers(all)[1:])
		submit(t, db, order("1", "old", "a"), Same)
		submit(t, db, order("2", "new", "a"), Repeated)
	})
}

func TestHold(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		lock, ok, err := db.Hold(t.Context(), 1)
		if !ok || err != nil {
			t.Fatalf("a free shard: %v, %v", ok, err)
		}
		if _, ok, err := db.Hold(t.Context(), 1); ok || err != nil {
			t.Errorf("a shard held by ourselves: %v, %v", ok, err)
		}
		if _, ok, err := db.Hold(t.Context(), 2); !ok || err != nil {
			t.Errorf("another shard: %v, %v", ok, err)
		}
		if n, err := db.Relays(t.Context()); n != 1 || err != nil {
			t.Errorf("%d relays, want 1 (%v)", n, err)
		}
		lock.Release()
		lock.Release()
		again, ok, err := db.Hold(t.Context(), 1)
		if !ok || err != nil {
			t.Fatalf("a shard given back: %v, %v", ok, err)
		}
		lock.Release() // is no longer the holder
		if _, ok, _ := db.Hold(t.Context(), 1); ok {
			t.Error("a late Release freed another's lock")
		}
		select {
		case <-again.Lost():
			t.Error("lost")
		default:
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		<-again.Lost()
		again.Release()
		if _, _, err := db.Hold(t.Context(), 3); !errors.Is(err, ErrUnavailable) {
			t.Errorf("hold on a closed database: %v", err)
		}
	})
}

func TestWake(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		readers := []<-chan struct{}{db.Wake(), db.Wake()}
		woken := func(ch <-chan struct{}) bool {
			select {
			case <-ch:
				return true
			default:
				return false
			}
		}
		for i, ch := range readers {
			if woken(ch) {
				t.Errorf("reader %d is woken for nothing", i)
			}
		}
		submit(t, db, order("1", "", "a"), Created)
		for _, ch := range readers {
			<-ch
		}
		if woken(db.Wake()) {
			t.Error("woken twice")
		}
		if p.shared {
			// Another instance hears of it once it listens.
			ch, n := p.open(t).Wake(), 1
			eventually(t, "the other instance is woken", func() bool {
				n++
				submit(t, db, order(fmt.Sprint(n), "", "a"), Created)
				return woken(ch)
			})
		}
	})
}

func TestMetrics(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		reg := prometheus.NewRegistry()
		for range 2 { // closed, the metrics are free for the next
			db, err := Open(t.Context(), Config{URL: p.url, Registerer: reg})
			if err != nil {
				t.Fatal(err)
			}
			submit(t, db, Submission{Messages: []Message{{Topic: event.TopicJournal, At: time.Now().Add(-time.Hour)}}, At: time.Now()}, Created)
			apply(t, db, change("1", event.TopicErrors, 0, Unknown))
			found, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			values := make(map[string]float64)
			for _, f := range found {
				for _, m := range f.Metric {
					values[f.GetName()] += m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
			if values["comptoir_outbox_pending"] < 1 || values["comptoir_outbox_oldest_seconds"] < 3600 || values["comptoir_orderdb_batch_size"] != 2 {
				t.Errorf("metrics are %v", values)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLeave: who leaves has no shard, and does not count until its next Hold.
func TestLeave(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		lock, ok, err := db.Hold(t.Context(), 0)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := db.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-lock.Lost()
		lock.Release()
		if p.shared {
			eventually(t, "it does not count", func() bool { n, err := db.Relays(t.Context()); return err == nil && n == 0 })
			if _, ok, err := p.open(t).Hold(t.Context(), 0); !ok || err != nil {
				t.Errorf("the other's hold: %v, %v", ok, err)
			}
		}
		if _, ok, err := db.Hold(t.Context(), 1); !ok || err != nil {
			t.Errorf("hold after leaving: %v, %v", ok, err)
		}
	})
}

// TestCluster: the first cluster stays, until another is adopted.
func TestCluster(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		for _, c := range []struct {
			id    string
			adopt bool
			want  string
		}{{"a", false, "a"}, {"b", false, "a"}, {"b", true, "b"}, {"b", true, "b"}, {"a", false, "b"}} {
			if bound, err := db.Cluster(t.Context(), c.id, c.adopt); bound != c.want || err != nil {
				t.Errorf("cluster %s, adopt %v: %q, %v, want %q", c.id, c.adopt, bound, err, c.want)
			}
		}
	})
}

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
		for shard := range db.Shards() {
			messages, err := db.Unsent(t.Context(), shard, 1000)
			if err != nil {
				t.Fatal(err)
			}
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
			some, err := db.Unsent(t.Context(), shard, 3)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the first three", numbers(some), numbers(messages)[:min(3, len(messages))])
		}
		if used < 2 {
			t.Errorf("10 clients use %d shards", used)
		}
		all := unsent(t, db)
		if n, oldest, err := db.Pending(t.Context()); n != 100 || !oldest.Equal(start) || err != nil {
			t.Errorf("%d pending since %v (%v), want 100 since %v", n, oldest, err, start)
		}

		before := time.Now()
		sent := numbers(all)[:60]
		for range 2 { // twice is fine
			if err := db.Sent(t.Context(), sent); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Sent(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		equal(t, "unsent", numbers(unsent(t, db)), numbers(all)[60:])
		if n, err := db.Resend(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
			t.Errorf("%d sent in the future (%v)", n, err)
		}
		if n, err := db.Resend(t.Context(), before.Add(-time.Second)); n != 60 || err != nil {
			t.Errorf("%d to be sent again, want 60 (%v)", n, err)
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
		if n, err := db.Resend(t.Context(), time.Now().Add(-time.Hour)); n != 1 || err != nil {
			t.Errorf("%d messages kept, want 1 (%v)", n, err)
		}
		if _, ok, _ := db.Answer(t.Context(), "old"); !ok {
			t.Error("a key of the day is gone")
		}
		if err := db.Sent(t.Context(), numbers(all)[:1]); err != nil {
			t.Fatal(err)
		}
		prune(time.Now().Add(2*time.Hour), time.Now().Add(time.Hour))
		if n, err := db.Resend(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
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

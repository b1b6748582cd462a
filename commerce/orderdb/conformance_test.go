package orderdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/test/testenv"
)

// place is where a test's databases are made: one that starts empty.
type place struct {
	name string
	url  string
	// shared says that several processes may have it open.
	shared bool
}

func (p place) open(t testing.TB) DB {
	t.Helper()
	db, err := Open(t.Context(), Config{URL: p.url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func sqlitePlace(t testing.TB) place {
	return place{name: "sqlite", url: filepath.Join(t.TempDir(), "commandes.db")}
}

// postgresPlace makes a database on the test server; the test is left out if
// there is no such server.
func postgresPlace(t testing.TB) place {
	t.Helper()
	server := testenv.Postgres(t)
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("orderdb_%d", time.Now().UnixNano())
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close(ctx)
	})
	return place{name: "postgres", url: withDatabase(t, server, name), shared: true}
}

// everywhere runs a test on every database.
func everywhere(t *testing.T, f func(t *testing.T, p place)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqlitePlace(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, postgresPlace(t)) })
}

var start = time.Now().UTC().Truncate(time.Millisecond)

// later is a time of the test's history.
func later(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func digest(content string) [16]byte {
	sum := sha256.Sum256([]byte(content))
	return [16]byte(sum[:])
}

// order is a submission of an order with a content.
func order(id, key, content string) Submission {
	value := fmt.Appendf(nil, `{"commandeId":%q,"montant":1,"c":%q}`, id, content)
	return Submission{
		Key: key, Fingerprint: sha256.Sum256(value),
		Order: &NewOrder{ID: event.ID(id), Client: "CLI-" + event.ID(id), Digest: digest(content), Value: value},
		Messages: []Message{{Topic: event.TopicOrders, Key: []byte("CLI-" + id), Value: value, At: start,
			Headers: []Header{{Key: "comptoir-order", Value: []byte(id)}, {Key: "empty"}}}},
		Answers: map[Result]Answer{
			Created:  {Status: 201, Location: "/commandes/" + id, Body: []byte("created")},
			Same:     {Status: 200, Body: []byte("same")},
			Conflict: {Status: 409, Body: []byte("conflict")},
		},
		At: start,
	}
}

func submit(t testing.TB, db DB, s Submission, want Result) Answer {
	t.Helper()
	out, err := db.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if out.Result != want {
		t.Fatalf("result %d, want %d", out.Result, want)
	}
	return out.Answer
}

func get(t testing.TB, db DB, id string) Order {
	t.Helper()
	o, ok, err := db.Order(t.Context(), event.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Fatalf("order %s is not known", id)
	}
	return o
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n%+v\nwant\n%+v", what, got, want)
	}
}

// unsent reads all shards' messages.
func unsent(t testing.TB, db DB) (all []Message) {
	t.Helper()
	for shard := range db.Shards() {
		list, err := db.Unsent(t.Context(), map[int]int{shard: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		messages := list[shard]
		for i := range messages {
			if i > 0 && messages[i].Number <= messages[i-1].Number {
				t.Errorf("shard %d: message %d after %d", shard, messages[i].Number, messages[i-1].Number)
			}
		}
		all = append(all, messages...)
	}
	return all
}

func TestSubmitOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		equal(t, "answer", submit(t, db, order("991", "", "a"), Created), Answer{201, "/commandes/991", []byte("created")})
		o := get(t, db, "991")
		equal(t, "order", o, Order{ID: "991", Number: o.Number, State: Received, Client: "CLI-991", Digest: digest("a"),
			Value: order("991", "", "a").Order.Value, At: start, Updated: start, Changes: 1})

		again := order("991", "", "a")
		again.At = later(1000)
		submit(t, db, again, Same)
		submit(t, db, order("991", "", "b"), Conflict)
		equal(t, "order after others", get(t, db, "991"), o)

		messages := unsent(t, db)
		want := order("991", "", "a").Messages
		want[0].Number = messages[0].Number
		want[0].Headers[1].Value = []byte{}
		equal(t, "outbox", messages, want)

		if _, ok, err := db.Order(t.Context(), "992"); ok || err != nil {
			t.Errorf("an unknown order: %v, %v", ok, err)
		}
	})
}

func TestSubmitOther(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		put := func(name string, price event.Amount, has bool) Submission {
			return Submission{Product: &event.Product{ID: "1597", Name: name, Price: price, HasPrice: has}, At: start,
				Messages: []Message{{Topic: event.TopicProducts, Key: []byte("1597"), Value: []byte(name), At: start}, {Topic: event.TopicJournal, Key: []byte("1597"), At: start}}}
		}
		submit(t, db, put("T-shirt", 0, false), Created)
		submit(t, db, put("T-shirt en coton", 2999, true), Same)
		submit(t, db, Submission{Messages: []Message{{Topic: event.TopicSupplies, Key: []byte("1597"), At: start}}, At: start}, Created)
		got, ok, err := db.Product(t.Context(), "1597")
		equal(t, "product", []any{got, ok, err}, []any{Product{ID: "1597", Name: "T-shirt en coton", Price: 2999, HasPrice: true}, true, nil})
		if n := len(unsent(t, db)); n != 5 {
			t.Errorf("%d messages, want 5", n)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		if _, ok, err := db.Answer(t.Context(), "k"); ok || err != nil {
			t.Errorf("an unknown key: %v, %v", ok, err)
		}
		first := submit(t, db, order("1", "k", "a"), Created)
		equal(t, "repeated", submit(t, db, order("1", "k", "a"), Repeated), first)
		submit(t, db, order("2", "k", "a"), KeyReused)
		if _, ok, _ := db.Order(t.Context(), "2"); ok {
			t.Error("a reused key placed an order")
		}
		// What was answered to the same order under another key is kept too.
		conflict := submit(t, db, order("1", "k2", "other"), Conflict)
		equal(t, "repeated conflict", submit(t, db, order("1", "k2", "other"), Repeated), conflict)
		submit(t, db, order("1", "k3", "a"), Same)
		kept, ok, err := db.Answer(t.Context(), "k3")
		equal(t, "kept", []any{kept, ok, err}, []any{Answered{order("1", "", "a").Fingerprint, Answer{Status: 200, Body: []byte("same")}}, true, nil})

		// After a day the key is as new.
		old := order("3", "day", "a")
		old.At = start.Add(-25 * time.Hour)
		submit(t, db, old, Created)
		if _, ok, err := db.Answer(t.Context(), "day"); ok || err != nil {
			t.Errorf("an expired key: %v, %v", ok, err)
		}
		submit(t, db, order("4", "day", "b"), Created)
		submit(t, db, order("4", "day", "b"), Repeated)
		// Keys are any bytes.
		submit(t, db, order("5", "\xff\x00'", "a"), Created)
		submit(t, db, order("5", "\xff\x00'", "a"), Repeated)
	})
}

// TestSameKeyAtOnce: 50 equal requests at once give one order and 50 equal
// answers, also if they reach several instances.
func TestSameKeyAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		handles := []DB{p.open(t)}
		if p.shared {
			handles = append(handles, p.open(t))
		}
		for round := range 5 {
			id := fmt.Sprint("order-", round)
			var wg sync.WaitGroup
			outs := make([]Outcome, 50)
			for i := range outs {
				wg.Go(func() {
					var err error
					if outs[i], err = handles[i%len(handles)].Submit(t.Context(), order(id, id, "a")); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			created := 0
			for _, out := range outs {
				if out.Result == Created {
					created++
				} else if out.Result != Repeated {
					t.Errorf("result %d", out.Result)
				}
				if out.Answer.Status != 201 || !bytes.Equal(out.Answer.Body, []byte("created")) {
					t.Errorf("answer %+v", out.Answer)
				}
			}
			if created != 1 {
				t.Errorf("created %d times", created)
			}
			if n := len(unsent(t, handles[0])); n != round+1 {
				t.Errorf("%d messages after %d orders", n, round+1)
			}
		}
	})
}

// TestManyAtOnce: 64 clients race for the same ids, contents and keys.
func TestManyAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		handles := []DB{p.open(t)}
		if p.shared {
			handles = append(handles, p.open(t))
		}
		const ids = 40
		var mu sync.Mutex
		var wg sync.WaitGroup
		created := make(map[event.ID][16]byte)
		same := make(map[event.ID][][16]byte)
		refused := make(map[event.ID][][16]byte)
		for c := range 64 {
			wg.Go(func() {
				for i := range ids {
					// Three contents for an id, every fourth request with a key that
					// others use for the same or another id.
					s := order(fmt.Sprint((i*7+c)%ids), "", fmt.Sprint("content ", c%3))
					if c%4 == 0 {
						s.Key = fmt.Sprint("key ", c%8, i)
					}
					out, err := handles[c%len(handles)].Submit(t.Context(), s)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					switch out.Result {
					case Created:
						if _, twice := created[s.Order.ID]; twice {
							t.Errorf("order %s created twice", s.Order.ID)
						}
						created[s.Order.ID] = s.Order.Digest
					case Same:
						same[s.Order.ID] = append(same[s.Order.ID], s.Order.Digest)
					case Conflict:
						refused[s.Order.ID] = append(refused[s.Order.ID], s.Order.Digest)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(created) != ids {
			t.Errorf("%d orders created, want %d", len(created), ids)
		}
		for id, won := range created {
			for _, d := range same[id] {
				if d != won {
					t.Errorf("order %s: called the same, but is not", id)
				}
			}
			for _, d := range refused[id] {
				if d == won {
					t.Errorf("order %s: called a conflict, but is the same", id)
				}
			}
			if o := get(t, handles[0], string(id)); o.Digest != won || o.Changes != 1 {
				t.Errorf("order %s is %+v", id, o)
			}
		}
		if n := len(unsent(t, handles[0])); n != ids {
			t.Errorf("%d messages, want %d", n, ids)
		}
	})
}

func TestReopen(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db, err := Open(t.Context(), Config{URL: p.url, Shards: 7})
		if err != nil {
			t.Fatal(err)
		}
		submit(t, db, order("1", "k", "a"), Created)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Submit(t.Context(), order("2", "", "a")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("submit to a closed database: %v", err)
		}
		if err := db.Apply(t.Context(), Batch{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("apply to a closed database: %v", err)
		}
		db = p.open(t)
		if db.Shards() != 7 {
			t.Errorf("%d shards, want 7", db.Shards())
		}
		submit(t, db, order("1", "k", "a"), Repeated)
	})
}

// TestOpenTogether: several instances make and migrate the database at once.
func TestOpenTogether(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db, err := Open(t.Context(), Config{URL: p.url})
				if err != nil {
					t.Error(err)
					return
				}
				if err := db.Ping(t.Context()); err != nil {
					t.Error(err)
				}
				_ = db.Close()
			})
		}
		wg.Wait()
	})
}

func TestCanceled(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := db.Submit(ctx, order("1", "", "a")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("submit: %v", err)
		}
		if _, _, err := db.Order(ctx, "1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("order: %v", err)
		}
		if _, ok, err := db.Order(t.Context(), "1"); ok || err != nil {
			t.Errorf("a canceled request placed its order: %v, %v", ok, err)
		}
	})
}

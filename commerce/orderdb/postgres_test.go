package orderdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/time/rate"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/test/testenv"
)

// withDatabase is a server's URL with another database.
func withDatabase(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("the test server's address is no URL")
	}
	u.Path = "/" + name
	return u.String()
}

// connectTo opens a plain connection to a test's database.
func connectTo(t testing.TB, p place) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func TestPostgresShards(t *testing.T) {
	p := postgresPlace(t)
	a, b := p.open(t), p.open(t)
	hold := func(db DB, shard int, want bool) Lock {
		t.Helper()
		l, ok, err := db.Hold(t.Context(), shard)
		if err != nil || ok != want {
			t.Fatalf("hold %d: %v, %v, want %v", shard, ok, err, want)
		}
		return l
	}
	relays := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d relays", want), func() bool {
			n, err := a.Relays(t.Context())
			return err == nil && n == want
		})
	}
	relays(0)
	l0, l1 := hold(a, 0, true), hold(a, 1, true)
	relays(1)
	hold(b, 0, false)
	hold(b, 2, true)
	relays(2)
	l0.Release()
	hold(b, 0, true)

	// The server ends our session: all locks are lost, and free for others.
	if _, err := connectTo(t, p).Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objid = 1 AND objsubid = 2
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, uint32(lockClass)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l1.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("the loss was not noticed")
	}
	l1.Release()
	hold(b, 1, true)
	hold(a, 1, false)
	hold(a, 3, true) // on a new session
	relays(2)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	relays(1)
	hold(a, 1, true)
}

// TestPostgresTrackersRace: of several instances that apply to one partition
// each step is done once.
func TestPostgresTrackersRace(t *testing.T) {
	p := postgresPlace(t)
	handles := []DB{p.open(t), p.open(t)}
	orders := Partition{event.TopicOrders, 0}
	const steps = 60
	var applied atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		db := handles[w%2]
		wg.Go(func() {
			for next := int64(0); next < steps; {
				err := db.Apply(t.Context(), Batch{From: map[Partition]Position{orders: {Next: next}}, To: map[Partition]Position{orders: {Next: next + 1}},
					Orders: []OrderChange{change("1", event.TopicOrders, next, Unknown)}})
				switch {
				case err == nil:
					applied.Add(1)
				case !errors.Is(err, ErrMoved):
					t.Error(err)
					return
				}
				at, err := db.Positions(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				next = at[orders].Next
			}
		})
	}
	wg.Wait()
	if o := get(t, handles[0], "1"); applied.Load() != steps || o.Changes != steps {
		t.Errorf("%d steps applied, %d changes, want %d", applied.Load(), o.Changes, steps)
	}
}

// TestPostgresEverythingAtOnce has requests and tracking of two instances meet
// at the same orders and products: nobody waits for ever, nothing is lost.
func TestPostgresEverythingAtOnce(t *testing.T) {
	p := postgresPlace(t)
	handles := []DB{p.open(t), p.open(t)}
	const ids, rounds = 30, 20
	var wg sync.WaitGroup
	for i, db := range handles {
		wg.Go(func() {
			for r := range rounds {
				var b Batch
				for _, n := range rand.Perm(ids) {
					c := with(change(fmt.Sprint(n), event.TopicOrders, int64(r), Received), "a")
					c.Entry.Partition = int32(i)
					b.Orders = append(b.Orders, c)
					b.Levels = append(b.Levels, Level{Product: event.ID(fmt.Sprint(n)), Available: 1})
				}
				if err := db.Apply(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
		})
		for c := range 8 {
			wg.Go(func() {
				for r := range rounds {
					s := order(fmt.Sprint(rand.IntN(ids)), fmt.Sprint("k", rand.IntN(ids)), "a")
					if r%4 == 0 {
						s.Order, s.Product = nil, &event.Product{ID: event.ID(fmt.Sprint(rand.IntN(ids))), Name: fmt.Sprint(c)}
					}
					if _, err := db.Submit(t.Context(), s); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for n := range ids {
		id := event.ID(fmt.Sprint(n))
		entries, err := handles[0].Timeline(t.Context(), id)
		if o := get(t, handles[0], string(id)); err != nil || len(entries) != 2*rounds || o.Changes < 2*rounds || o.State != Received {
			t.Errorf("order %s has %d entries, %d changes, state %s (%v)", id, len(entries), o.Changes, o.State, err)
		}
	}
}

// TestPostgresOvertakes: a submission that waits for somebody's row lock holds up
// no other.
func TestPostgresOvertakes(t *testing.T) {
	p := postgresPlace(t)
	db := p.open(t)
	submit(t, db, order("locked", "", "a"), Created)
	conn := connectTo(t, p)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM comptoir.orders WHERE id = 'locked' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := db.Submit(t.Context(), order("locked", "", "b"))
		waits <- err
	}()
	watcher := connectTo(t, p)
	eventually(t, "a submission waits for the lock", func() bool {
		var n int
		err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		return err == nil && n == 1
	})
	for i := range 10 {
		submit(t, db, order(fmt.Sprint("free", i), "", "a"), Created)
	}
	select {
	case err := <-waits:
		t.Fatalf("it did not wait (%v)", err)
	default:
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

func TestPostgresRefused(t *testing.T) {
	p := postgresPlace(t)
	db, err := Open(t.Context(), Config{URL: p.url})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := connectTo(t, p).Exec(t.Context(), `INSERT INTO comptoir.versions (version) VALUES (99)`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{URL: p.url}); err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("a newer database: %v", err)
	}
}

func TestPostgresUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = Open(t.Context(), Config{URL: "postgres://user:hunter2@" + addr + "/shop?sslmode=disable"})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "--database") {
		t.Errorf("nobody there: %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Error("the error has the password")
	}
	_, err = Open(t.Context(), Config{URL: "postgres://user:hunter2@[::1/shop"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("an ill-formed address: %v", err)
	}
}

// TestPostgresStopped: while the server is away calls say so, and work again
// when it is back.
func TestPostgresStopped(t *testing.T) {
	server := testenv.StartPostgres(t)
	p := place{url: server.Addr}
	db := p.open(t)
	submit(t, db, order("1", "", "a"), Created)
	lock, ok, err := db.Hold(t.Context(), 0)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	server.Kill()
	for name, call := range map[string]func() error{
		"submit": func() error { _, err := db.Submit(t.Context(), order("2", "", "a")); return err },
		"order":  func() error { _, _, err := db.Order(t.Context(), "1"); return err },
		"apply": func() error {
			return db.Apply(t.Context(), Batch{Orders: []OrderChange{change("1", event.TopicErrors, 1, Unknown)}})
		},
		"unsent": func() error { _, err := db.Unsent(t.Context(), map[int]int{0: 1}); return err },
		"hold":   func() error { _, _, err := db.Hold(t.Context(), 1); return err },
		"ping":   func() error { return db.Ping(t.Context()) },
	} {
		if err := call(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	<-lock.Lost()
	server.Start()
	eventually(t, "the database is back", func() bool { return db.Ping(t.Context()) == nil })
	submit(t, db, order("3", "", "a"), Created)
	get(t, db, "1")
	if _, ok, err := db.Hold(t.Context(), 0); !ok || err != nil {
		t.Errorf("hold again: %v, %v", ok, err)
	}
	other, wake, n := p.open(t), db.Wake(), 3
	eventually(t, "it listens again", func() bool {
		n++
		submit(t, other, order(fmt.Sprint(n), "", "a"), Created)
		select {
		case <-wake:
			return true
		default:
			return false
		}
	})
}

// TestPostgresPace: of batches of several the first few do not wait, and the end
// does not wait for one that does. Who sends one after the other never waits.
func TestPostgresPace(t *testing.T) {
	db := postgresPlace(t).open(t).(*postgresDB)
	db.pace.SetLimit(rate.Every(time.Hour))
	n := 0
	// two has two submissions come as one batch.
	two := func() chan error {
		db.turn <- struct{}{}
		errs := make(chan error, 2)
		for range 2 {
			n++
			s := order(fmt.Sprint(n), "", "a")
			go func() { _, err := db.Submit(t.Context(), s); errs <- err }()
		}
		eventually(t, "two wait", func() bool { return db.queue.size() == 2 })
		<-db.turn
		return errs
	}
	for range submitBurst {
		errs := two()
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
	}
	db.pace.SetLimit(rate.Inf) // the first one alone comes after a batch of two
	submit(t, db, order("first", "", "a"), Created)
	db.pace.SetLimit(rate.Every(time.Hour))
	for db.pace.Allow() { // none is left
	}
	for i := range 20 {
		submit(t, db, order(fmt.Sprint("single", i), "", "a"), Created)
	}
	errs := two()
	eventually(t, "they wait with the turn", func() bool { return len(db.turn) == 1 && db.queue.size() == 2 })
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrUnavailable) {
			t.Errorf("one batch too many: %v, want ErrUnavailable", err)
		}
	}
}

// TestPostgresLazily: marks need not be on disk, but the next submission on their
// connection must be.
func TestPostgresLazily(t *testing.T) {
	p := postgresPlace(t)
	db := p.open(t).(*postgresDB)
	submit(t, db, order("1", "", "a"), Created)
	if _, err := connectTo(t, p).Exec(t.Context(), `CREATE FUNCTION lazily() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('synchronous_commit') <> 'off' THEN RAISE 'this commit waits for the disk'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER lazily BEFORE UPDATE ON comptoir.outbox FOR EACH ROW EXECUTE FUNCTION lazily()`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	for range 2 { // prepared, and then known
		if err := db.Sent(t.Context(), []int64{1}); err != nil {
			t.Error(err)
		}
		if _, err := db.Resend(t.Context(), time.Hour); err == nil {
			t.Error("the trigger does not work")
		}
		if err := db.call(); err != nil {
			t.Error(err)
		}
		if _, err := connectTo(t, p).Exec(t.Context(), `ALTER TABLE comptoir.outbox DISABLE TRIGGER lazily; UPDATE comptoir.outbox SET sent = NULL;
			ALTER TABLE comptoir.outbox ENABLE TRIGGER lazily`, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range db.pool.AcquireAllIdle(t.Context()) {
		var is string
		if err := conn.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&is); err != nil || is != "on" {
			t.Errorf("a connection has synchronous_commit %q, %v", is, err)
		}
		conn.Release()
	}
}

// TestPostgresCalls: other instances are called if any may relay, and only then.
func TestPostgresCalls(t *testing.T) {
	p := postgresPlace(t)
	db := p.open(t).(*postgresDB)
	other := p.open(t)
	listener := connectTo(t, p)
	if _, err := listener.Exec(t.Context(), `LISTEN `+wakeChannel); err != nil {
		t.Fatal(err)
	}
	ended := 0
	called := func(when string, want int) {
		t.Helper()
		if err := db.call(); err != nil {
			t.Fatal(err)
		}
		ended++
		end := fmt.Sprint("end ", ended)
		if _, err := db.pool.Exec(t.Context(), `SELECT pg_notify($1, $2)`, wakeChannel, end); err != nil {
			t.Fatal(err)
		}
		for calls := 0; ; calls++ {
			n, err := listener.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == end {
				if calls != want {
					t.Errorf("%s: %d calls, want %d", when, calls, want)
				}
				return
			}
		}
	}
	take := func(db DB, shard int) Lock {
		t.Helper()
		lock, ok, err := db.Hold(t.Context(), shard)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := db.Relays(t.Context()); err != nil {
			t.Fatal(err)
		}
		return lock
	}
	called("nothing is known", 1)
	lock := take(db, 0)
	called("it relays alone", 0)
	lock.Release()
	eventually(t, "the shard is released", func() bool { return !db.session.holds() })
	called("it has no shard, so the one who relays may be another", 1)
	take(db, 0)
	take(other, 1)
	if n, err := db.Relays(t.Context()); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	called("two relay", 1)
}

// TestClassifyPostgres: what the server says of itself passes; what it says of a
// statement stays, and so does damage.
func TestClassifyPostgres(t *testing.T) {
	for code, passes := range map[string]bool{
		"08006": true, "40001": true, "53100": true, "57P01": true, "58030": true, "25006": true,
		"XX000": false, "XX001": false, "XX002": false, "22P02": false, "23505": false, "28P01": false, "42P01": false,
	} {
		err := classifyPostgres(fmt.Errorf("submit: %w", &pgconn.PgError{Severity: "FATAL", Code: code}))
		if got := errors.Is(err, ErrUnavailable); got != passes {
			t.Errorf("SQLSTATE %s: unavailable %v, want %v", code, got, passes)
		}
	}
}

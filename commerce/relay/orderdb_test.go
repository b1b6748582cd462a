package relay

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/test/testenv"
)

// onDatabases runs a test with the real order databases. open gives another
// instance on the same one.
func onDatabases(t *testing.T, f func(t *testing.T, open func() orderdb.DB)) {
	opener := func(t *testing.T, url string) func() orderdb.DB {
		return func() orderdb.DB {
			db, err := orderdb.Open(context.Background(), orderdb.Config{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			return db
		}
	}
	t.Run("sqlite", func(t *testing.T) { f(t, opener(t, filepath.Join(t.TempDir(), "orders.db"))) })
	t.Run("postgres", func(t *testing.T) { f(t, opener(t, freshDatabase(t))) })
}

// freshDatabase makes a database on the shared PostgreSQL and returns its URL.
func freshDatabase(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal("the test server's address is no URL")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	name := fmt.Sprintf("relay_%d", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "create database "+name); err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// submitBoth submits a message to the database, and notes it in m for verify
// once it is accepted. One caller per key, so that its order is known.
func submitBoth(t *testing.T, db orderdb.DB, m *memory, topic, key, value string) {
	msg := orderdb.Message{Topic: topic, Key: []byte(key), Value: []byte(value), At: time.Now()}
	_, err := db.Submit(context.Background(), orderdb.Submission{
		Messages: []orderdb.Message{msg}, Answers: map[orderdb.Result]orderdb.Answer{orderdb.Created: {Status: 202}}, At: time.Now(),
	})
	if err != nil {
		t.Error(err)
		return
	}
	m.add(msg)
}

func nothingPending(t *testing.T, db orderdb.DB) {
	t.Helper()
	eventually(t, "nothing is pending", func() bool {
		n, _, err := db.Pending(context.Background())
		return err == nil && n == 0
	})
}

func TestRealDatabase(t *testing.T) {
	t.Parallel()
	onDatabases(t, func(t *testing.T, open func() orderdb.DB) {
		c := newCluster(t)
		db, m := open(), newMemory(4)
		c.start(db)
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 50 {
					submitBoth(t, db, m, c.n("a"), fmt.Sprintf("CLI-%d", w), fmt.Sprintf("%d/%d", w, i))
				}
			})
		}
		wg.Wait()
		nothingPending(t, db)
		if again := c.verify(m); again != 0 {
			t.Errorf("%d messages were sent again without need", again)
		}
	})
}

// TestTwoInstancesOnPostgreSQL: two instances share the shards; one is gone in
// the middle, without a word; the other one sends the rest.
func TestTwoInstancesOnPostgreSQL(t *testing.T) {
	t.Parallel()
	url := freshDatabase(t)
	open := func() orderdb.DB {
		db, err := orderdb.Open(context.Background(), orderdb.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	c := newCluster(t)
	plain := c.kafka
	m := newMemory(4)
	one, two := open(), open()
	w := newWire()
	c.kafka.Dial = w.dial
	r1 := c.start(one)
	c.kafka = plain
	r2 := c.start(two)
	held := func(r *running) float64 { return r.value("comptoir_outbox_shards_held", "") }
	eventually(t, "two share", func() bool { return held(r1) == 2 && held(r2) == 2 })
	var wg sync.WaitGroup
	half := make(chan struct{})
	for k := range 8 {
		wg.Go(func() {
			for i := range 100 {
				submitBoth(t, two, m, c.n("a"), fmt.Sprintf("CLI-%d", k), fmt.Sprintf("%d/%d", k, i))
				if k == 0 && i == 50 {
					close(half)
				}
			}
		})
	}
	<-half
	w.cut()
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	eventually(t, "the rest is taken over", func() bool { return held(r2) == 4 })
	nothingPending(t, two)
	c.verify(m)
}

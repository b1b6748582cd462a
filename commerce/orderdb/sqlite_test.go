package orderdb

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// TestSQLiteRefused: files that are not ours, or of a later program, are refused
// and left as they are.
func TestSQLiteRefused(t *testing.T) {
	for name, c := range map[string]struct {
		statement string // makes the file
		want      string
	}{
		"another program's": {`CREATE TABLE factures (numero TEXT)`, "another program"},
		"a newer one":       {fmt.Sprintf(`CREATE TABLE meta (name TEXT); PRAGMA application_id = %d; PRAGMA user_version = 99`, sqliteApplication), "version 99"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(c.statement); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), Config{URL: path}); err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{URL: path}); err == nil || !strings.Contains(err.Error(), "choose another path") {
		t.Errorf("a text file: %v", err)
	}
	if _, err := Open(t.Context(), Config{URL: filepath.Join(t.TempDir(), "missing", "x.db")}); err == nil {
		t.Error("a file in a missing folder was opened")
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []Config{{}, {URL: "mysql://host/name"}, {URL: "x.db", Shards: -1}, {URL: "x.db", Shards: 5000}} {
		if db, err := Open(t.Context(), c); err == nil {
			_ = db.Close()
			t.Errorf("%+v was opened", c)
		}
	}
	path := filepath.Join(t.TempDir(), "a name?with #everything%20.db")
	db, err := Open(t.Context(), Config{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestSQLiteForgetsWhatFailed lets a transaction fail after it has changed an
// order and a product: the next ones must not see that, though the writer keeps
// what it had in its hands last.
func TestSQLiteForgetsWhatFailed(t *testing.T) {
	db, err := Open(t.Context(), Config{URL: filepath.Join(t.TempDir(), "orders.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	d := db.(*sqliteDB)
	p := Partition{Topic: event.TopicOrders}
	batch := func(from, to int64, state State, available int64) Batch {
		return Batch{
			From: map[Partition]Position{p: {Next: from}}, To: map[Partition]Position{p: {Next: to}},
			Orders: []OrderChange{{ID: "A", Entry: Entry{Topic: p.Topic, Offset: from}, State: state, Client: "CLI-1"}},
			Levels: []Level{{Product: "P", Name: "PC", Available: available}},
		}
	}
	if err := db.Apply(t.Context(), batch(0, 1, Reserved, 5)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err = d.do(t.Context(), &task{run: func(w *sqliteWriter) error {
		b := batch(1, 2, Notified, 4)
		b.Products = []event.Product{{ID: "P", Name: "PC"}}
		return errors.Join(w.apply(&b), broken)
	}})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := db.Apply(t.Context(), batch(1, 2, Paid, 3)); err != nil {
		t.Fatal(err)
	}
	o, _, err := db.Order(t.Context(), "A")
	if err != nil || o.State != Paid || o.Changes != 2 {
		t.Errorf("state %v after %d changes, %v", o.State, o.Changes, err)
	}
	out, err := db.Submit(t.Context(), Submission{Product: &event.Product{ID: "P", Name: "PC"}})
	if err != nil || out.Result != Created {
		t.Errorf("product: result %d, %v", out.Result, err)
	}
	// What Forget changes must be seen too.
	if err := db.Forget(t.Context(), p, Position{Next: 1}); err != nil {
		t.Fatal(err)
	}
	if err := db.Apply(t.Context(), batch(1, 2, Paid, 3)); err != nil {
		t.Fatal(err)
	}
	if o, _, err := db.Order(t.Context(), "A"); err != nil || o.Changes != 4 {
		t.Errorf("%d changes after a Forget, %v", o.Changes, err)
	}
}

func TestRecent(t *testing.T) {
	var c recent[int, int]
	for i := range 3 * recentKept {
		c.put(i, -i)
		if v, ok := c.get(0); !ok || v != 0 {
			t.Fatalf("what is asked for was forgotten after %d", i)
		}
	}
	if _, ok := c.get(1); ok || len(c.young)+len(c.old) > 2*recentKept {
		t.Errorf("%d and %d are kept", len(c.young), len(c.old))
	}
	c.clear()
	if _, ok := c.get(0); ok {
		t.Error("not cleared")
	}
}

// TestForgetsAtRest: what the writer had in its hands stays there while it works,
// and not when it has nothing to do.
func TestForgetsAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(t.Context(), Config{URL: filepath.Join(t.TempDir(), "x.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		in := Partition{Topic: event.TopicVerdicts}
		kept := func() (n int) {
			t.Helper()
			err := db.(*sqliteDB).do(t.Context(), &task{run: func(w *sqliteWriter) error {
				n = len(w.orders.young) + len(w.orders.old)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for n := range int64(3) {
			c := OrderChange{ID: "A", State: Reserved, Entry: Entry{Topic: in.Topic, Offset: n, Time: time.Unix(n, 0)}}
			b := Batch{From: map[Partition]Position{}, To: map[Partition]Position{in: {Next: n + 1}}, Orders: []OrderChange{c}}
			b.From[in] = Position{Next: n}
			if err := db.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(recentLasts - time.Millisecond)
			if kept() != 1 {
				t.Errorf("after %d batches %d orders are kept while it works", n+1, kept())
			}
		}
		time.Sleep(recentLasts + time.Millisecond)
		if n := kept(); n != 0 {
			t.Errorf("%d orders are kept at rest", n)
		}
	})
}

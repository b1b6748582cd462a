package orderdb

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

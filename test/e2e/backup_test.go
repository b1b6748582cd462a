package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/program"
)

// TestBackup: copies made while orders cross, one after the other, and one made
// after a kill are whole: each is sound, a shop starts from it, brings what was
// under way to its end, and every invariant holds. The original's archive is
// never written by a copy.
func TestBackup(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "shop")
	p := program.Up(t, dir)

	stop := make(chan struct{})
	placed := make(chan int)
	go func() {
		id := 5000
		defer func() { placed <- id - 5000 }()
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for ; ; id++ {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			order := fmt.Sprintf(`{"commandeId":%d,"client":"CLI-%d","montant":120.5,"produit":"PC Gamer"}`, id, id%7)
			if status, body, err := p.Do("POST", p.Endpoints.HTTP+"/commandes", order); err != nil || status != 201 {
				t.Errorf("order %d: %d %s, %v", id, status, body, err)
				return
			}
		}
	}()
	rows := func(dir string) int {
		var n struct{ Commandes []struct{} }
		out, errs, code := program.Command(t, "", "order", "list", "-o", "json", "--data-dir", dir)
		if code != 0 {
			t.Fatalf("order list: %s", errs)
		}
		if err := json.Unmarshal([]byte(out), &n); err != nil {
			var list []struct{}
			if err := json.Unmarshal([]byte(out), &list); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return len(list)
		}
		return len(n.Commandes)
	}
	program.Until(t, time.Minute, "orders cross", func() error {
		if n := rows(dir); n < 20 {
			return fmt.Errorf("%d orders", n)
		}
		return nil
	})
	var copies []string
	backup := func() {
		t.Helper()
		target := filepath.Join(root, "copies", fmt.Sprint(len(copies)))
		out, errs, code := program.Command(t, "", "backup", dir, target, "-o", "json")
		var b struct{ Running bool }
		if err := json.Unmarshal([]byte(out), &b); code != 0 || err != nil || b.Running != (len(copies) < 2) {
			t.Fatalf("backup: exit code %d, %v: %s%s", code, err, out, errs)
		}
		copies = append(copies, target)
	}
	backup()
	if _, errs, code := program.Command(t, "", "backup", dir, copies[0]); code != 2 || !strings.Contains(errs, "not empty") {
		t.Errorf("a second backup to the same place: exit code %d: %s", code, errs)
	}
	if _, errs, code := program.Command(t, "", "broker", "verify", dir); code != 1 || !strings.Contains(errs, "in use by process") {
		t.Errorf("verify beside a running broker: exit code %d: %s", code, errs)
	}
	if info, err := os.Stat(filepath.Join(dir, "control.sock")); err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("control.sock: %v, %v", info, err)
	}
	backup()
	close(stop)
	n := <-placed
	p.Kill()
	backup() // the socket is still there, and nobody behind it
	if left, err := filepath.Glob(filepath.Join(root, "copies", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}

	before, err := os.Stat(filepath.Join(dir, "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	for i, target := range copies {
		if out, errs, code := program.Command(t, "", "broker", "verify", target); code != 0 {
			t.Fatalf("verify of copy %d: exit code %d: %s%s", i, code, out, errs)
		}
		p := program.Up(t, target)
		if p.Endpoints.Archive != filepath.Join(target, "archive.db") {
			t.Errorf("the archive of copy %d is %s", i, p.Endpoints.Archive)
		}
		if out, errs, code := program.Command(t, "", "audit", "--wait", "60s", "--data-dir", target); code != 0 {
			t.Errorf("audit of copy %d: exit code %d: %s%s", i, code, out, errs)
		}
		if i == len(copies)-1 {
			t.Logf("%d orders, %d in the last copy", n, rows(target))
		}
		if took, code := p.Stop(syscall.SIGTERM, 30*time.Second); code != 0 {
			t.Errorf("after %v exit code %d", took, code)
		}
		if _, err := os.Stat(filepath.Join(target, "control.sock")); err == nil {
			t.Error("control.sock is still there after a stop")
		}
	}
	if after, err := os.Stat(filepath.Join(dir, "archive.db")); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a copy wrote to the original's archive: %v", err)
	}
	program.Up(t, dir) // the stale socket does not keep it from starting
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/node"
)

// journalFiles are the files of the journal in a data directory, in order.
func journalFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "broker", "data"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, filepath.Join(dir, "broker", "data", e.Name()))
		}
	}
	slices.Sort(files)
	return files
}

func TestBrokerVerify(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "a")
	s.ok(strings.Repeat("a value to be damaged\n", 200), "produce", "a")
	dir := s.dir
	s.fails(exitFailure, []string{"in use by process"}, "", "broker", "verify", dir)
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
	var v verified
	s.json(&v, "broker", "verify", dir)
	if v.Dir != dir || v.Files == 0 || v.Bytes < 500 || v.Damages == nil || len(v.Damages) > 0 {
		t.Errorf("%+v", v)
	}
	if out := s.ok("", "broker", "verify", dir); !strings.Contains(out, "sound") {
		t.Error(out)
	}
	s.fails(exitNotFound, []string{"has no broker"}, "", "broker", "verify", t.TempDir())
	s.fails(exitUsage, []string{"DIR"}, "", "broker", "verify")

	// One bit.
	file := journalFiles(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), "a value to be damaged")
	if at < 0 {
		at = len(b) / 2 // compressed
	}
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	r := s.run("", "broker", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.code != exitFailure || !strings.Contains(r.err, "restore a backup") {
		t.Fatalf("exit code %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	if len(v.Damages) == 0 || v.Damages[0].File != file || v.Damages[0].Offset <= 0 || v.Damages[0].Offset > int64(at) || v.Damages[0].Error == "" {
		t.Errorf("a flipped bit at %d of %s: %+v", at, file, v.Damages)
	}
	if r := s.run("", "broker", "verify", dir); r.code != exitFailure || !strings.Contains(r.out, "OFFSET") || !strings.Contains(r.out, file) {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestBackupOfStopped(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "a")
	s.ok("v\n", "produce", "a")
	root := t.TempDir()
	target := filepath.Join(root, "copies", "one")
	// A broker without the node around it cannot be asked.
	s.fails(exitFailure, []string{node.ControlSocket, "stop it"}, "", "backup", s.dir, target)
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{s.dir, filepath.Join(s.dir, "inside")} {
		s.fails(exitUsage, []string{"inside"}, "", "backup", s.dir, bad)
	}
	full := filepath.Join(root, "full")
	if err := os.MkdirAll(filepath.Join(full, "something"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.fails(exitUsage, []string{"not empty"}, "", "backup", s.dir, full)
	s.fails(exitNotFound, []string{"no data directory"}, "", "backup", t.TempDir(), target)
	s.fails(exitUsage, []string{"TARGET"}, "", "backup", s.dir)
	var b node.Backup
	s.json(&b, "backup", s.dir, target)
	if b.Target != target || b.Bytes == 0 || b.Running {
		t.Errorf("%+v", b)
	}
	s.ok("", "broker", "verify", target)
	empty := filepath.Join(root, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("", "backup", s.dir, empty); !strings.Contains(out, "stopped") {
		t.Error(out)
	}

	// What fails leaves nothing.
	if err := os.Remove(filepath.Join(s.dir, "broker", "format.json")); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailure, []string{"format.json"}, "", "backup", s.dir, filepath.Join(root, "copies", "two"))
	bad := filepath.Join(target, "commandes.db")
	if err := os.WriteFile(bad, []byte("no database, but long enough to be read as the head of one"+strings.Repeat(".", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailure, []string{bad}, "", "backup", target, filepath.Join(root, "copies", "two"))
	entries, err := os.ReadDir(filepath.Join(root, "copies"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

package broker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker/store"
)

// values consumes n records of a topic, all partitions.
func values(t *testing.T, b *Broker, topic string, n int) map[string]bool {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[string]bool{}
	for len(got) < n {
		fetches := cl.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
	}
	return got
}

// TestBackup: what was acknowledged before it is in the copy, of a running broker
// and of a stopped one; the original is left as it was.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, Config{Dir: dir})
	cl := client(t, b)
	produce(t, cl, "a", "one")
	produce(t, cl, "a", "two")
	running, stopped := filepath.Join(t.TempDir(), "running"), filepath.Join(t.TempDir(), "stopped")
	if err := b.Backup(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	if err := b.Backup(t.Context(), running); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a backup over another: %v", err)
	}
	if held := (*HeldError)(nil); !errors.As(Verify(dir, func(Finding) {}), &held) {
		t.Error("verify takes a directory in use")
	}
	produce(t, cl, "a", "three")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Backup(t.Context(), filepath.Join(t.TempDir(), "late")); err == nil {
		t.Error("a backup of a closed broker")
	}
	s, err := OpenStopped(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), stopped); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(gone, filepath.Join(t.TempDir(), "cancelled")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled backup: %v", err)
	}
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]int{running: 2, stopped: 3, dir: 3} {
		if err := Verify(at, func(f Finding) {
			if f.Damage != nil {
				t.Error(f.Damage)
			}
		}); err != nil {
			t.Error(err)
		}
		again := openTest(t, Config{Dir: at})
		if got := values(t, again, "a", want); len(got) != want || !got["one"] || !got["two"] || got["three"] != (want == 3) {
			t.Errorf("%s has %v", at, got)
		}
	}
}

// The copy shares no file with the original.
func TestBackupIsItsOwn(t *testing.T) {
	b := openTest(t, Config{})
	produce(t, client(t, b), "a", "one")
	to := t.TempDir()
	if err := b.Backup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	data, files := b.dir.data(), 0
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		original, err := os.Stat(path)
		if err != nil {
			return err
		}
		copied, err := os.Stat(filepath.Join(to, "broker", "data", rel))
		if err == nil {
			files++
			if os.SameFile(original, copied) {
				t.Errorf("%s is shared", rel)
			}
		}
		return nil
	})
	if err != nil || files < 3 {
		t.Errorf("%d files compared, %v", files, err)
	}
}

func TestVerifyMissesTheData(t *testing.T) {
	b := openTest(t, Config{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(b.dir.data()); err != nil {
		t.Fatal(err)
	}
	if err := Verify(filepath.Dir(b.dir.path), func(Finding) {}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its data: %v", err)
	}
}

func TestVerifyFindsNothing(t *testing.T) {
	for _, use := range []func(string) error{
		func(dir string) error { return Verify(dir, func(store.Finding) {}) },
		func(dir string) error { _, err := OpenStopped(dir); return err },
	} {
		dir := t.TempDir()
		if err := use(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without a broker: %v", err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("it left %v, %v", entries, err)
		}
	}
}

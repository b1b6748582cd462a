package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/test/testenv"
)

// smallDisk is a directory on a disk of 64 MB.
func smallDisk(t *testing.T) (dir string, disk *testenv.Disk) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "disk")
	return dir, testenv.NeedDisk(t, dir, 64)
}

// healthy waits until the broker's health is what it should be.
func healthy(t *testing.T, b *Broker, what string, is func(error) bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !is(b.Health()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: health is %v", what, b.Health())
		}
	}
}

func lowSpaceError(err error) bool { return errors.Is(err, store.ErrLowSpace) }

func well(err error) bool { return err == nil }

// TestDeletionOnAFullDisk: a topic can be deleted while there is no room for
// anything, and its room is what others go on in.
func TestDeletionOnAFullDisk(t *testing.T) {
	dir, disk := smallDisk(t)
	b := openTest(t, Config{Dir: dir})
	healthy(t, b, "at first", well)
	cl := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 20 {
		produce(t, cl, "large", string(make([]byte, 900<<10)))
	}
	produce(t, cl, "small", "kept")
	disk.Fill()
	healthy(t, b, "on a full disk", lowSpaceError)
	adm := kadm.NewClient(cl)
	if resp, err := adm.DeleteTopics(testContext(t), "large"); err != nil || resp["large"].Err != nil {
		t.Fatalf("delete: %v, %v", err, resp["large"].Err)
	}
	healthy(t, b, "after the deletion", well)
	produce(t, cl, "other", "goes on")
	if got := consume(t, b, "small"); got != "kept" {
		t.Errorf("got %q, want kept", got)
	}
}

// TestStartOnAFullDisk: a broker that was killed opens on a disk without any room
// left, gives what it has, and goes on when there is some.
func TestStartOnAFullDisk(t *testing.T) {
	dir, disk := smallDisk(t)
	// Its room was kept while it lived.
	first := openTest(t, Config{Dir: dir})
	healthy(t, first, "at first", well)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	reserve := filepath.Join(dir, "broker", "data", "reserve")
	var kept syscall.Stat_t
	if err := syscall.Stat(reserve, &kept); err != nil || kept.Blocks*512 < 512<<10 {
		t.Fatalf("%d bytes are kept (%v)", kept.Blocks*512, err)
	}
	produceAndKill(t, dir)
	disk.Fill()
	b := openTest(t, Config{Dir: dir})
	healthy(t, b, "on a full disk", lowSpaceError)
	if got := consume(t, b, "kept"); got != "value 0" {
		t.Errorf("got %q, want value 0", got)
	}
	if _, err := os.Stat(reserve); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the room is still kept: %v", err)
	}
	disk.Free()
	healthy(t, b, "with room again", well)
	produce(t, client(t, b), "kept", "more")
	if _, err := os.Stat(reserve); err != nil {
		t.Errorf("no room is kept again: %v", err)
	}
}

// produceAndKill leaves in dir what a broker that was killed leaves there.
func produceAndKill(t *testing.T, dir string) {
	t.Helper()
	copied := t.TempDir()
	b := openTest(t, Config{Dir: dir})
	cl := client(t, b)
	for i := range 20 {
		produce(t, cl, "kept", fmt.Sprint("value ", i))
	}
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "broker"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"data/index", "data"} {
		old, err := os.ReadDir(filepath.Join(dir, "broker", sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range old {
			if e.IsDir() || e.Name() == "reserve" {
				continue
			}
			if err := os.Remove(filepath.Join(dir, "broker", sub, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(filepath.Join(copied, sub, "reserve")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		from, err := os.ReadDir(filepath.Join(copied, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range from {
			if e.IsDir() {
				continue
			}
			content, err := os.ReadFile(filepath.Join(copied, sub, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "broker", sub, e.Name()), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

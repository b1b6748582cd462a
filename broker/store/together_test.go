package store

import (
	"bytes"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAllTogether writes while others read, sync, back up and free space. Whoever
// reads finds what was written before, whatever was moved meanwhile.
func TestAllTogether(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "store", FileSize: 20_000, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var first, next atomic.Int64 // what is before first may be gone
	stop := make(chan struct{})
	var wg sync.WaitGroup
	reader := func(back int64) {
		for {
			select {
			case <-stop:
				return
			default:
			}
			from := max(next.Load()-back, 0)
			b, err := s.Read(1, from, math.MaxInt64, 4000, nil)
			if err != nil {
				t.Errorf("read at %d: %v", from, err)
				return
			}
			// Of the older batches every tenth is left.
			for len(b) > 0 {
				base, _ := span2(b[:batchOverhead+300])
				if base < from {
					t.Errorf("read %d at %d", base, from)
				}
				if !bytes.Equal(b[:batchOverhead+300], makeBatch(base, 1, base, 300)) {
					t.Errorf("batch %d is not as written", base)
				}
				if from >= first.Load() && base > from+15 {
					t.Errorf("read %d at %d, from %d on", base, from, first.Load())
				}
				b = b[batchOverhead+300:]
				from = base + 1
			}
		}
	}
	for _, back := range []int64{1, 30, 400} {
		wg.Go(func() { reader(back) })
	}
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.Sync(s.Written()); err != nil {
				t.Errorf("sync: %v", err)
			}
		}
	})
	wg.Go(func() {
		for i := range 5 {
			if err := s.Backup(t.Context(), fmt.Sprintf("copy%d", i)); err != nil {
				t.Errorf("backup: %v", err)
			}
		}
	})
	var c Commit
	writes := int64(5000)
	if testing.Short() {
		writes = 1500
	}
	for i := range writes {
		c.Reset()
		c.Append(1, makeBatch(i, 1, i, 300))
		if old := i - 500; old >= 0 && old%10 != 0 {
			c.Replace(1, old, old, nil)
		}
		if i%1000 == 999 {
			first.Store(i - 800) // before it is so
			c.Trim(1, i-800)
		}
		mustWrite(t, s, &c)
		next.Store(i + 1)
	}
	close(stop)
	wg.Wait()
	mustClose(t, s)
	for i := range 5 {
		if damages, _, err := verify(fs, fmt.Sprintf("copy%d", i)); err != nil {
			t.Errorf("copy %d: %v, %q", i, err, damages)
		}
	}
	if damages, _, err := verify(fs, "store"); err != nil {
		t.Errorf("%v, %q", err, damages)
	}
}

package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// at gives a batch its place without making it anew: the first bytes are not
// in its checksum.
func at(b []byte, base int64) []byte {
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

func benchOpen(b *testing.B, mode Mode) *Store {
	b.Helper()
	s, err := Open(Options{Dir: b.TempDir() + "/store", Sync: mode})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { mustClose(b, s) })
	return s
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("batch=%dKiB", size>>10), func(b *testing.B) {
			s := benchOpen(b, SyncInterval)
			batch := makeBatch(0, 300, 0, size-batchOverhead)
			var c Commit
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				c.Reset()
				c.Append(Partition(i%3), at(batch, int64(i)*300))
				if i%1024 == 1023 {
					c.Trim(Partition(i%3), int64(i-512)*300) // keeps the disk from filling up
				}
				mustWrite(b, s, &c)
			}
		})
	}
	b.Run("small", func(b *testing.B) {
		s := benchOpen(b, SyncInterval)
		batch := [3][]byte{makeBatch(0, 1, 0, 240), makeBatch(0, 1, 0, 240), makeBatch(0, 1, 0, 240)}
		var keys [5][]byte
		value := make([]byte, 60)
		var c Commit
		b.ResetTimer()
		for i := range b.N {
			c.Reset()
			for p := range batch {
				c.Append(Partition(p), at(batch[p], int64(i)))
			}
			for k := range keys {
				keys[k] = fmt.Appendf(keys[k][:0], "transaction/%d/%04d", k, i%1000)
				c.Set(keys[k], value)
			}
			mustWrite(b, s, &c)
		}
	})
}

func BenchmarkSync(b *testing.B) {
	for _, waiters := range []int{1, 16} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			s := benchOpen(b, SyncCommit)
			var mu sync.Mutex
			var next int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range waiters {
				n := b.N / waiters
				if w < b.N%waiters {
					n++
				}
				wg.Go(func() {
					batch := makeBatch(0, 1, 0, 240)
					var c Commit
					for range n {
						c.Reset()
						mu.Lock()
						c.Append(1, at(batch, next))
						next++
						m, err := s.Write(&c)
						mu.Unlock()
						if err == nil {
							err = s.Sync(m)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func BenchmarkRead(b *testing.B) {
	s := benchOpen(b, SyncInterval)
	batch := makeBatch(0, 300, 0, 64<<10-batchOverhead)
	small := makeBatch(0, 1, 0, 240)
	var c Commit
	for i := range 2000 {
		c.Reset()
		c.Append(1, at(batch, int64(i)*300))
		mustWrite(b, s, &c)
	}
	const many = 200_000
	for i := range many {
		c.Reset()
		c.Append(2, at(small, int64(i)))
		mustWrite(b, s, &c)
	}
	if err := s.index.flush(); err != nil {
		b.Fatal(err)
	}
	var dst []byte
	read := func(b *testing.B, p Partition, from int64, max int) int64 {
		var err error
		if dst, err = s.Read(p, from, math.MaxInt64, max, dst[:0]); err != nil {
			b.Fatal(err)
		}
		return int64(len(dst))
	}
	b.Run("1MiB of 64KiB", func(b *testing.B) {
		var bytes int64
		for i := range b.N {
			bytes += read(b, 1, int64(i%120)*16*300, 1<<20)
		}
		b.SetBytes(bytes / int64(b.N))
	})
	b.Run("1MiB of 300B", func(b *testing.B) {
		var bytes int64
		for i := range b.N {
			bytes += read(b, 2, int64(i%50)*3400, 1<<20)
		}
		b.SetBytes(bytes / int64(b.N))
	})
	b.Run("newest", func(b *testing.B) {
		for range b.N {
			read(b, 2, many-1, 1<<20)
		}
	})
	b.Run("one in the middle", func(b *testing.B) {
		for i := range b.N {
			read(b, 2, int64(i*7919%many), 1)
		}
	})
}

// BenchmarkOpen opens 2 GB as a killed process left them, and makes them sure.
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{64 << 10, 300} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			dir := b.TempDir() + "/store"
			s, err := Open(Options{Dir: dir, Sync: SyncInterval})
			if err != nil {
				b.Fatal(err)
			}
			batch := makeBatch(0, 300, 0, size-batchOverhead)
			var c Commit
			total := 2 << 30
			if size < 1000 {
				total = 400 << 20
			}
			for i := range total / size {
				c.Reset()
				c.Append(Partition(i%16), at(batch, int64(i)*300))
				mustWrite(b, s, &c)
			}
			// A backup is a store that nobody closed.
			if err := os.MkdirAll(dir+"x", 0o755); err != nil {
				b.Fatal(err)
			}
			if err := linkAll(dir, dir+"x"); err != nil {
				b.Fatal(err)
			}
			mustClose(b, s)
			var took time.Duration
			for i := range b.N {
				again := fmt.Sprintf("%s%d", dir, i)
				if err := linkAll(dir+"x", again); err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				s, err := Open(Options{Dir: again})
				if err != nil {
					b.Fatal(err)
				}
				// Nobody is answered before.
				if err := s.Sync(s.Written()); err != nil {
					b.Fatal(err)
				}
				took += time.Since(began)
				mustClose(b, s)
			}
			b.ReportMetric(float64(took.Microseconds())/float64(b.N)/1000, "ms/open")
		})
	}
}

// linkAll copies a store's directory as it stands.
func linkAll(from, to string) error {
	_, err := vfs.Clone(vfs.Default, vfs.Default, from, to)
	return err
}

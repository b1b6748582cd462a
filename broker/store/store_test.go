package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/comptoir/comptoir/broker/batch"
)

const batchOverhead = batch.HeaderSize

// makeBatch returns a record batch of n records whose records are size random-looking
// bytes: the store looks into the header only.
func makeBatch(base int64, n int, timestamp int64, size int) []byte {
	b := make([]byte, batchOverhead+size)
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint64(b[27:], uint64(timestamp))
	binary.BigEndian.PutUint64(b[35:], uint64(timestamp))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	x := uint64(base)*0x9e3779b97f4a7c15 + uint64(size)
	for i := batchOverhead; i < len(b); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "store"
	}
	s, err := open(o, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustWrite(t testing.TB, s *Store, c *Commit) Mark {
	t.Helper()
	m, err := s.Write(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, s *Store, p Partition) []byte {
	t.Helper()
	b, err := s.Read(p, 0, math.MaxInt64, math.MaxInt, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, Options{FS: fs, BootID: "one"})
	if s.Unclean() || s.PowerLost() {
		t.Error("a new store was not closed well")
	}
	var want []byte
	var c Commit
	for i := range 100 {
		c.Reset()
		b := makeBatch(int64(i*10), 10, int64(1000+i), 50+i*1000)
		want = append(want, b...)
		c.Append(7, b)
		c.Set(fmt.Appendf(nil, "key/%03d", i), fmt.Append(nil, i))
		if i == 50 {
			c.Delete([]byte("key/001"))
			c.DeleteRange([]byte("key/010"), []byte("key/020"))
		}
		mustWrite(t, s, &c)
	}
	check := func() {
		t.Helper()
		if got := readAll(t, s, 7); !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, not the %d that were written", len(got), len(want))
		}
		if first, next, ok := s.Bounds(7); first != 0 || next != 1000 || !ok {
			t.Errorf("bounds are %d, %d, %t", first, next, ok)
		}
		if got := s.Size(7); got != int64(len(want)) {
			t.Errorf("size is %d, want %d", got, len(want))
		}
		keys := 0
		if err := s.Scan([]byte("key/"), func(k, v []byte) error { keys++; return nil }); err != nil || keys != 89 {
			t.Errorf("found %d keys, error %v", keys, err)
		}
		if v, ok, err := s.Get([]byte("key/099")); string(v) != "99" || !ok || err != nil {
			t.Errorf("got %q, %t, %v", v, ok, err)
		}
		if _, ok, err := s.Get([]byte("key/015")); ok || err != nil {
			t.Errorf("a deleted key is there, or %v", err)
		}
		b, err := s.Read(7, 995, math.MaxInt64, 1, nil)
		if err != nil || !bytes.Equal(b, makeBatch(990, 10, 1099, 50+99*1000)) {
			t.Errorf("read %d bytes of the last batch, %v", len(b), err)
		}
		b, err = s.Read(7, 5, 20, math.MaxInt, nil)
		if err != nil || len(b) != 2*batchOverhead+100+1000 {
			t.Errorf("read %d bytes below 20, %v", len(b), err)
		}
	}
	check()
	mustClose(t, s)
	s = mustOpen(t, Options{FS: fs, BootID: "two"})
	if s.Unclean() || s.PowerLost() {
		t.Error("a closed store was not closed well")
	}
	check()
	mustClose(t, s)
}

func TestTrimDropReplace(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, Options{FS: fs})
	var c Commit
	for i := range 10 {
		c.Append(1, makeBatch(int64(i*10), 10, 0, 100))
		c.Append(2, makeBatch(int64(i*10), 10, 0, 100))
	}
	c.Trim(1, 35) // within the commit that appends
	mustWrite(t, s, &c)
	one := int64(batchOverhead + 100)
	check := func(p Partition, first, next, size int64) {
		t.Helper()
		f, n, ok := s.Bounds(p)
		if f != first || n != next || s.Size(p) != size || ok != (size > 0) {
			t.Errorf("partition %d has %d to %d, %d bytes; want %d to %d, %d", p, f, n, s.Size(p), first, next, size)
		}
		var bytes, batches int64
		err := s.Batches(p, 0, math.MaxInt64, func(b BatchInfo) error {
			bytes += int64(b.Size)
			batches++
			return nil
		})
		if err != nil || bytes != size || int64(len(readAll(t, s, p))) != size {
			t.Errorf("partition %d lists %d bytes, reads %d; want %d; %v", p, bytes, len(readAll(t, s, p)), size, err)
		}
	}
	check(1, 30, 100, 7*one)
	c.Reset()
	c.Replace(2, 0, 9, nil)
	c.Replace(2, 10, 19, makeBatch(10, 10, 5, 7))
	c.Replace(2, 90, 99, nil)
	c.Replace(2, 91, 99, nil) // is not there
	c.Replace(1, 0, 9, makeBatch(0, 10, 5, 7))
	mustWrite(t, s, &c)
	check(1, 30, 100, 7*one)
	check(2, 10, 90, 7*one+batchOverhead+7)
	c.Reset()
	c.Trim(1, 1000)
	c.Drop(2)
	mustWrite(t, s, &c)
	check(1, 0, 0, 0)
	check(2, 0, 0, 0)
	if live := s.applier.files[1].live; live != 0 {
		t.Errorf("%d bytes live of nothing", live)
	}
	c.Reset()
	c.Append(2, makeBatch(500, 1, 0, 10))
	mustWrite(t, s, &c)
	check(2, 500, 501, batchOverhead+10)
	mustClose(t, s)
	s = mustOpen(t, Options{FS: fs})
	check(1, 0, 0, 0)
	check(2, 500, 501, batchOverhead+10)
	mustClose(t, s)
}

func TestMisuseIsRefused(t *testing.T) {
	s := mustOpen(t, Options{FS: vfs.NewMem()})
	for name, do := range map[string]func(*Commit){
		"no batch":      func(c *Commit) { c.Append(1, []byte("batch")) },
		"other format":  func(c *Commit) { b := makeBatch(0, 1, 0, 1); b[16] = 1; c.Append(1, b) },
		"two batches":   func(c *Commit) { c.Append(1, append(makeBatch(0, 1, 0, 1), makeBatch(1, 1, 0, 1)...)) },
		"other offsets": func(c *Commit) { c.Replace(1, 0, 5, makeBatch(0, 5, 0, 1)) },
	} {
		var c Commit
		do(&c)
		c.Set([]byte("key"), nil)
		if _, err := s.Write(&c); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if _, ok, err := s.Get([]byte("key")); ok || err != nil {
		t.Errorf("something of a refused commit is there, or %v", err)
	}
	mustClose(t, s)
	var c Commit
	c.Set([]byte("key"), nil)
	if _, err := s.Write(&c); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

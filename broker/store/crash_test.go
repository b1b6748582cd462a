package store

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var (
	histories = flag.Int("histories", 700, "random histories of the crash tests")
	firstSeed = flag.Uint64("seed", 1, "seed of the first of them")
)

// model is what a store should hold.
type model struct {
	parts map[Partition][][]byte
	keys  map[string]string
}

// effect is one operation of a commit, on the commit and on the model.
type effect struct {
	commit func(*Commit)
	model  func(*model)
}

// history is what was asked of a store. Each frame has the mark after it; what
// the store writes by itself makes frames without effects.
type history struct {
	rng     *rand.Rand
	frames  []writtenFrame
	current *model // after all frames
	next    map[Partition]int64
	mu      sync.Mutex // of the counters, which a goroutine of Pebble reads at a crash
	written int        // frames whose Write has returned
	synced  int        // frames whose Sync has returned
}

type writtenFrame struct {
	effects []effect
	mark    Mark
}

func newHistory(seed uint64) *history {
	return &history{
		rng:     rand.New(rand.NewPCG(seed, 0)),
		current: &model{parts: map[Partition][][]byte{}, keys: map[string]string{}},
		next:    map[Partition]int64{},
	}
}

func (h *history) state(frames int) *model {
	m := &model{parts: map[Partition][][]byte{}, keys: map[string]string{}}
	for _, f := range h.frames[:frames] {
		for _, e := range f.effects {
			e.model(m)
		}
	}
	return m
}

func span2(b []byte) (base, last int64) {
	h, err := parseBatch(b)
	if err != nil {
		panic(err)
	}
	return h.BaseOffset, h.LastOffset()
}

func (m *model) remove(p Partition, gone func(base, last int64) bool) {
	m.parts[p] = slices.DeleteFunc(slices.Clone(m.parts[p]), func(b []byte) bool { return gone(span2(b)) })
}

func (h *history) randomEffect() effect {
	p := Partition(h.rng.IntN(3))
	key := []byte(fmt.Sprintf("k%02d", h.rng.IntN(30)))
	switch n := h.rng.IntN(100); {
	case n < 45:
		size := h.rng.IntN(400)
		if h.rng.IntN(20) == 0 {
			size = large + h.rng.IntN(5000)
		}
		records := 1 + h.rng.IntN(5)
		b := makeBatch(h.next[p]+int64(h.rng.IntN(2)), records, h.rng.Int64N(1000), size)
		_, last := span2(b)
		h.next[p] = last + 1
		return effect{
			func(c *Commit) { c.Append(p, b) },
			func(m *model) { m.parts[p] = append(slices.Clone(m.parts[p]), b) },
		}
	case n < 70:
		value := []byte(fmt.Sprint(h.rng.Uint64()))
		return effect{func(c *Commit) { c.Set(key, value) }, func(m *model) { m.keys[string(key)] = string(value) }}
	case n < 75:
		return effect{func(c *Commit) { c.Delete(key) }, func(m *model) { delete(m.keys, string(key)) }}
	case n < 78:
		to := []byte(fmt.Sprintf("k%02d", h.rng.IntN(30)))
		return effect{func(c *Commit) { c.DeleteRange(key, to) }, func(m *model) {
			for k := range m.keys {
				if k >= string(key) && k < string(to) {
					delete(m.keys, k)
				}
			}
		}}
	case n < 86:
		before := h.next[p] - int64(h.rng.IntN(40))
		return effect{func(c *Commit) { c.Trim(p, before) }, func(m *model) {
			m.remove(p, func(_, last int64) bool { return last < before })
		}}
	case n < 88:
		return effect{func(c *Commit) { c.Drop(p) }, func(m *model) { delete(m.parts, p) }}
	}
	list := h.current.parts[p]
	if len(list) == 0 {
		return effect{func(*Commit) {}, func(*model) {}}
	}
	base, last := span2(list[h.rng.IntN(len(list))])
	var b []byte
	if h.rng.IntN(3) > 0 {
		b = makeBatch(base, int(last-base)+1, h.rng.Int64N(1000), h.rng.IntN(200))
	}
	return effect{func(c *Commit) { c.Replace(p, base, last, b) }, func(m *model) {
		l := slices.Clone(m.parts[p])
		for i := range l {
			if x, y := span2(l[i]); x == base && y == last {
				if l[i] = b; b == nil {
					l = slices.Delete(l, i, i+1)
				}
				break
			}
		}
		m.parts[p] = l
	}}
}

// difference tells how a store is not as the model.
func (m *model) difference(s *Store) error {
	for p := range Partition(3) {
		var want []byte
		for _, b := range m.parts[p] {
			want = append(want, b...)
		}
		got, err := s.Read(p, 0, math.MaxInt64, math.MaxInt, nil)
		if err != nil {
			return fmt.Errorf("read partition %d: %w", p, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("partition %d has %d bytes, not the %d it should have", p, len(got), len(want))
		}
		if s.Size(p) != int64(len(want)) {
			return fmt.Errorf("partition %d says %d bytes, has %d", p, s.Size(p), len(want))
		}
		first, next, ok := s.Bounds(p)
		if ok != (len(want) > 0) {
			return fmt.Errorf("partition %d: batches there is %t", p, ok)
		}
		if ok {
			base, _ := span2(m.parts[p][0])
			_, last := span2(m.parts[p][len(m.parts[p])-1])
			if first != base || next != last+1 {
				return fmt.Errorf("partition %d says %d to %d, has %d to %d", p, first, next, base, last+1)
			}
		}
	}
	keys := map[string]string{}
	if err := s.Scan(nil, func(k, v []byte) error { keys[string(k)] = string(v); return nil }); err != nil {
		return err
	}
	for k, v := range keys {
		if w, ok := m.keys[k]; !ok || w != v {
			return fmt.Errorf("key %s is %q, should be %q", k, v, w)
		}
	}
	if len(keys) != len(m.keys) {
		return fmt.Errorf("%d keys, should be %d", len(keys), len(m.keys))
	}
	var live int64
	for _, f := range s.applier.files {
		live += f.live
	}
	var size int64
	for p := range Partition(3) {
		size += s.Size(p)
	}
	if live != size {
		return fmt.Errorf("%d bytes live in the files, %d in the partitions", live, size)
	}
	return nil
}

// crashes clones a file system as a crash would leave it, before the nth change.
type crashes struct {
	mem *vfs.MemFS

	mu      sync.Mutex
	left    int
	percent int
	rng     *rand.Rand
	note    func()
	clone   *vfs.MemFS
}

func (c *crashes) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left != 0 || c.clone != nil {
		return nil
	}
	c.take()
	return nil
}

func (c *crashes) take() {
	c.note()
	c.clone = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: c.rng})
}

func (c *crashes) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clone != nil
}

// TestCrashes runs random histories, crashes at any change of any file, of power
// or of the process, and looks at what is left: a prefix of what was written,
// with all that was synced, or all whose Write returned if only the process went.
func TestCrashes(t *testing.T) {
	n := *histories
	if testing.Short() {
		n = min(n, 60)
	}
	for i := range n {
		seed := *firstSeed + uint64(i)
		if err := crashHistory(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func crashHistory(seed uint64) (err error) {
	h := newHistory(seed)
	rng := h.rng
	mem := vfs.NewCrashableMem()
	boot := 0
	about := ""
	for life := range 5 {
		// The counters are read when the crash happens, maybe by a goroutine of
		// Pebble.
		var written, synced int
		c := &crashes{mem: mem, left: 1 + rng.IntN(200), rng: rand.New(rand.NewPCG(seed, uint64(life)))}
		power := rng.IntN(3) > 0
		c.percent = []int{0, 10, 50, 90, 100}[rng.IntN(5)]
		if !power {
			c.percent = 100
		}
		c.note = func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			written, synced = h.written, h.synced
		}

		o := Options{
			FS: errorfs.Wrap(mem, errorfs.InjectorFunc(c.inject)), Dir: "store", BootID: fmt.Sprint(boot),
			FileSize: int64(500 + rng.IntN(8000)),
		}
		// A crash while it opens leaves what was safe before.
		before := h.written
		h.mu.Lock()
		h.written = h.synced
		h.mu.Unlock()
		var s *Store
		if s, err = open(o, false); err != nil {
			return fmt.Errorf("life %d (%s): %w", life, about, err)
		}
		if err := h.settle(s, before); err != nil {
			return fmt.Errorf("life %d (%s): %w", life, about, err)
		}
		clean := rng.IntN(10) == 0
		for step := 0; !c.crashed() && step < 200; step++ {
			var f writtenFrame
			var m Mark
			switch n := rng.IntN(100); {
			case n < 70:
				var commit Commit
				for range 1 + rng.IntN(4) {
					e := h.randomEffect()
					e.commit(&commit)
					e.model(h.current)
					f.effects = append(f.effects, e)
				}
				m, err = s.Write(&commit)
				f.mark = m
				h.frames = append(h.frames, f)
				h.mu.Lock()
				h.written = len(h.frames)
				h.mu.Unlock()
			case n < 90:
				if len(h.frames) == 0 {
					continue
				}
				i := max(len(h.frames)-rng.IntN(3), 1)
				err = s.Sync(h.frames[i-1].mark)
				h.mu.Lock()
				h.synced = max(h.synced, i)
				h.mu.Unlock()
			case n < 93:
				err = s.index.flush()
			case n < 98:
				err = s.sweep()
				h.frames = append(h.frames, writtenFrame{mark: s.Written()})
			case clean:
				err = s.Close()
				if err == nil {
					h.mu.Lock()
					h.synced = len(h.frames)
					h.mu.Unlock()
					s = nil
				}
			}
			if err != nil {
				return fmt.Errorf("life %d, step %d: %w", life, step, err)
			}
			if s == nil {
				break
			}
		}
		c.mu.Lock()
		if c.clone == nil {
			c.take()
		}
		mem = c.clone
		c.mu.Unlock()
		if s != nil {
			_ = s.Close() // of a world that is no more
		}
		about = fmt.Sprintf("power lost %t, %d %% of unsynced data there, closed %t", power, c.percent, s == nil)
		h.synced = synced
		if !power {
			h.synced = written
		} else {
			boot++
		}
	}
	return nil
}

// settle finds out which prefix of the history the store holds, and forgets the
// rest.
func (h *history) settle(s *Store, written int) error {
	k := 0
	for k < len(h.frames) && h.frames[k].mark <= s.Written() {
		k++
	}
	if k < h.synced {
		return fmt.Errorf("%d frames are there of %d that are safe", k, h.synced)
	}
	if k < written-1 && !s.PowerLost() {
		return fmt.Errorf("%d frames are there of %d, and no power was lost", k, written)
	}
	h.frames = h.frames[:k]
	h.current = h.state(k)
	h.mu.Lock()
	h.written, h.synced = k, k
	h.mu.Unlock()
	for p := range Partition(3) {
		h.next[p] = 0
		if l := h.current.parts[p]; len(l) > 0 {
			_, last := span2(l[len(l)-1])
			h.next[p] = last + 1
		}
	}
	if err := h.current.difference(s); err != nil {
		return fmt.Errorf("after %d frames: %w", k, err)
	}
	return nil
}

package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/comptoir/comptoir/broker/store/storetest"
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

// errDead is what a process that was killed is told, if it could be told.
var errDead = errors.New("killed")

// crashes ends a process before its nth change of any file: by a loss of power,
// after which it goes on in a world that is no more, or by a kill, after which it
// changes nothing.
type crashes struct {
	disk    *storetest.Disk
	power   bool
	percent int    // of what is not synced a loss of power leaves
	note    func() // called at the crash

	mu      sync.Mutex
	left    int
	crashed bool
	after   *storetest.Disk // the disk as the next process finds it
}

func (c *crashes) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.crash()
	}
	if c.crashed && !c.power {
		return errDead
	}
	return nil
}

// crash is called with the lock.
func (c *crashes) crash() {
	if c.crashed {
		return
	}
	c.crashed, c.after = true, c.disk
	c.note()
	if c.power {
		c.after = c.disk.PowerCut(c.percent)
	}
}

func (c *crashes) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashed
}

// TestCrashes runs random histories and ends them at any change of any file, by a
// loss of power, by a kill, or because a sync has failed, and looks at what the
// next process finds: a prefix of what was written, with all that was synced, and
// all whose Write returned if only the process went.
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

func crashHistory(seed uint64) error {
	h := newHistory(seed)
	disk := storetest.NewDisk(seed)
	boot, about := 0, "first"
	var at struct{ written, synced int } // h's counters at the crash
	for life := range 6 {
		written := at.written // the next crash may be any moment from here on
		c := &crashes{disk: disk, left: 1 + h.rng.IntN(200), power: h.rng.IntN(2) > 0, percent: []int{0, 10, 50, 90, 100}[h.rng.IntN(5)]}
		c.note = func() { // maybe by a goroutine of Pebble
			h.mu.Lock()
			defer h.mu.Unlock()
			at.written, at.synced = h.written, h.synced
		}
		disk.FailSync(0, "")
		if h.rng.IntN(3) == 0 {
			disk.FailSync(1+h.rng.IntN(40), "")
		}
		o := Options{
			FS: errorfs.Wrap(disk, errorfs.InjectorFunc(c.inject)), Dir: "store", BootID: fmt.Sprint(boot),
			FileSize: int64(500 + h.rng.IntN(8000)),
		}
		s, err := open(o, false)
		if err == nil {
			if err := h.settle(s, written); err != nil {
				return fmt.Errorf("life %d (%s): %w", life, about, err)
			}
			err = h.live(s, c, h.rng.IntN(10) == 0)
		}
		failed := disk.Failed() && !c.done()
		if err != nil && !failed && !c.done() {
			return fmt.Errorf("life %d (%s): %w", life, about, err)
		}
		c.mu.Lock()
		if failed {
			// The process ends since its store does, mostly.
			c.power = h.rng.IntN(4) == 0
		}
		c.crash()
		disk = c.after
		c.mu.Unlock()
		if s != nil {
			_ = s.Close()
		}
		about = fmt.Sprintf("power lost %t, %d %% of unsynced data there, a sync failed %t", c.power, c.percent, failed)
		h.written, h.synced = at.written, at.synced
		if c.power {
			boot++
			h.written = h.synced // for sure
		}
	}
	return nil
}

// live uses a store until it crashes, or a while.
func (h *history) live(s *Store, c *crashes, clean bool) error {
	for step := 0; !c.done() && step < 200; step++ {
		var err error
		before := s.Written()
		switch n := h.rng.IntN(100); {
		case n < 70:
			var commit Commit
			var f writtenFrame
			for range 1 + h.rng.IntN(4) {
				e := h.randomEffect()
				e.commit(&commit)
				e.model(h.current)
				f.effects = append(f.effects, e)
			}
			_, err = s.Write(&commit)
			h.wrote(f, s.Written(), before, err)
		case n < 90:
			if len(h.frames) == 0 {
				continue
			}
			i := max(len(h.frames)-h.rng.IntN(3), 1)
			if err = s.Sync(h.frames[i-1].mark); err == nil {
				h.mu.Lock()
				h.synced = max(h.synced, i)
				h.mu.Unlock()
			}
		case n < 93:
			err = s.index.flush()
		case n < 98:
			err = s.sweep()
			h.wrote(writtenFrame{}, s.Written(), before, err)
		case clean:
			if err = s.Close(); err == nil {
				h.mu.Lock()
				h.synced = len(h.frames)
				h.mu.Unlock()
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	return nil
}

// wrote adds a frame to the history. One whose Write has failed may stand there
// all the same, if the journal has grown.
func (h *history) wrote(f writtenFrame, now, before Mark, err error) {
	if err != nil && now == before {
		return
	}
	f.mark = now
	h.frames = append(h.frames, f)
	if err == nil {
		h.mu.Lock()
		h.written = len(h.frames)
		h.mu.Unlock()
	}
}

// settle finds out which prefix of the history the store holds, and forgets the
// rest. written is how many frames there were at the crash.
func (h *history) settle(s *Store, written int) error {
	k := 0
	for k < len(h.frames) && h.frames[k].mark <= s.Written() {
		k++
	}
	if k < h.written {
		return fmt.Errorf("%d frames are there of %d that are safe", k, h.written)
	}
	if k < written && !s.PowerLost() {
		return fmt.Errorf("%d frames are there of %d, and no power was lost", k, written)
	}
	h.frames = h.frames[:k]
	h.current = h.state(k)
	h.mu.Lock()
	h.written = k
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

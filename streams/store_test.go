package streams

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/streams/state"
)

// FuzzStoreIsRestored makes a task read, write and delete as the input says, in
// transactions that commit or abort, and compares with a plain map, and with
// what the changelog gives. An entry that comes and goes within a transaction
// must leave no record there.
func FuzzStoreIsRestored(f *testing.F) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 0))
		ops := make([]byte, 600)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 1<<14 {
			return
		}
		newStoreRun(t, 8).do(ops)
	})
}

// TestLargeStoreIsRestored has more keys than the cache.
func TestLargeStoreIsRestored(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	ops := make([]byte, 120_000)
	for i := range ops {
		ops[i] = byte(rng.Uint32())
		if i%3 == 0 && rng.IntN(500) > 0 {
			ops[i] &= 0x7f // transactions of some hundred operations
		}
	}
	newStoreRun(t, 3*cacheEntries).do(ops)
}

// storeRun is a task with one store, and what it must hold.
type storeRun struct {
	t     *testing.T
	db    *state.DB
	top   *Topology
	store *KeyValue[string, uint64]
	task  *task
	keys  int

	now       map[string]uint64
	committed map[string]uint64
	looked    map[string]bool // before the first write of the transaction
	written   map[string]bool
	log       [][2][]byte
}

func newStoreRun(t *testing.T, keys int) *storeRun {
	b := NewBuilder("app")
	r := &storeRun{t: t, keys: keys, now: map[string]uint64{}, committed: map[string]uint64{}, looked: map[string]bool{}, written: map[string]bool{}}
	r.store = NewKeyValue(b, "s", Text, numberSerde).Cold(func(n uint64) bool { return n%2 == 1 }).Fresh()
	From(b, Topic[string, string]{Name: "in", Key: Text, Value: Text}).Process("nothing", func(*Context, Record[string, string]) {}, r.store)
	var err error
	if r.top, err = b.Build(); err != nil {
		t.Fatal(err)
	}
	r.db = memory(t)
	t.Cleanup(func() { r.task.close() })
	r.open()
	return r
}

func memory(t *testing.T) *state.DB {
	t.Helper()
	db, err := state.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (r *storeRun) open() {
	r.t.Helper()
	var err error
	r.task, err = newTask(r.top, 0, r.db, nil, map[string]int32{"in": 1}, slog.New(slog.DiscardHandler), time.Unix(0, 0))
	if err != nil {
		r.t.Fatal(err)
	}
}

// do takes three bytes for each operation: what, and with which key.
func (r *storeRun) do(ops []byte) {
	c := &r.task.ctx
	for n := uint64(1); len(ops) >= 3; n++ {
		key := fmt.Sprint(int(binary.BigEndian.Uint16(ops[1:])) % r.keys)
		switch op := ops[0]; {
		case op >= 0xf0:
			r.abort()
			c = &r.task.ctx
		case op >= 0xd0:
			r.commit()
		default:
			switch op % 4 {
			case 0, 1:
				v, ok := r.store.Get(c, key)
				if want, there := r.now[key]; v != want || ok != there {
					r.t.Fatalf("key %s is %d, %v, want %d, %v", key, v, ok, want, there)
				}
				if !r.written[key] {
					r.looked[key] = true
				}
			case 2:
				r.store.Put(c, key, n)
				r.now[key], r.written[key] = n, true
			case 3:
				r.store.Delete(c, key)
				delete(r.now, key)
				r.written[key] = true
			}
		}
		ops = ops[3:]
	}
	r.commit()
	if got := stored(r.t, r.task); !maps.Equal(got, r.committed) {
		r.t.Fatalf("the state is %v, want %v", got, r.committed)
	}
	for _, tables := range []bool{false, true} {
		r.restore(tables)
	}
}

// restore holds what the log makes of an empty state against what was committed.
func (r *storeRun) restore(tables bool) {
	restoredTo := &storeRun{t: r.t, db: memory(r.t), top: r.top}
	restoredTo.open()
	to := newReplay(restoredTo.db)
	to.tasks[0] = &replayed{t: restoredTo.task}
	if tables {
		to.useTables()
	}
	for i, rec := range r.log {
		if err := to.put(&kgo.Record{Key: rec[0], Value: rec[1]}); err != nil {
			r.t.Fatal(err)
		}
		if i%5 == 4 { // or all would be one portion
			if err := to.apply(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if err := to.save(time.Now()); err != nil {
		r.t.Fatal(err)
	}
	if got := stored(r.t, restoredTo.task); !maps.Equal(got, r.committed) {
		r.t.Fatalf("the restored state is %v, want %v (by tables: %v)", got, r.committed, tables)
	}
}

func (r *storeRun) commit() {
	batch := r.db.NewBatch()
	prefix := string(appendStoreName(nil, "s"))
	r.task.flush(batch, func(key, value []byte) {
		r.log = append(r.log, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
		if k, ok := strings.CutPrefix(string(key), prefix); ok && value == nil && r.looked[k] {
			if _, was := r.committed[k]; !was {
				r.t.Fatalf("key %s was not there, came and went: its deletion is written", k)
			}
		}
	})
	if err := batch.Apply(); err != nil {
		r.t.Fatal(err)
	}
	r.task.settle()
	r.committed = maps.Clone(r.now)
	clear(r.looked)
	clear(r.written)
}

func (r *storeRun) abort() {
	r.task.close()
	r.open()
	r.now = maps.Clone(r.committed)
	clear(r.looked)
	clear(r.written)
}

// stored is what the store of a task holds, as it is committed.
func stored(t *testing.T, task *task) map[string]uint64 {
	t.Helper()
	got := map[string]uint64{}
	prefix := appendStoreName(nil, "s")
	err := task.db.Scan(task.space, prefix, func(k, v []byte) bool {
		key, ok := strings.CutPrefix(string(k), string(prefix))
		if ok {
			got[key], _ = binary.Uvarint(v)
		}
		return ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

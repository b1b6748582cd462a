package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// errStore is in errors of the facts' store, which trying again does not heal.
var errStore = errors.New("facts of the audit")

// errOpen is beside errStore if the store could not even be opened: another
// process may be using it.
var errOpen = errors.New("cannot be opened")

// store keeps the facts. One goroutine uses it.
type store struct {
	db    *pebble.DB
	keep  bool // for the next time
	batch *pebble.Batch
	// buf is room to encode a fact in.
	buf []byte
	// most is how much is written at a time, in bytes.
	most int
	meta meta
	// empty says that there was nothing when it was opened: no status can be
	// there that is not of this run's first round.
	empty bool
	// noted are the groups that are noted in the batch already.
	noted map[string]bool
	// standing is how groups were judged before, while many are judged anew.
	standing *standing
	// told are judgements that were taken back and are to be made anew: what was
	// known of them is not new.
	told map[string]status
	// fresh counts the violations that are new since they were told, found has
	// the first few of each invariant.
	fresh [invariants]int64
	found map[inv][]Violation
}

// maxFound bounds how many new violations of an invariant are told one by one.
const maxFound = 5

// openStore opens the facts in a folder. There is no log beside the tables: a
// crash takes back the last batches, positions included, and what they had is
// read again. Most of the memory goes to its cache and
// to what is not written yet.
func openStore(dir string, memory int64, keep bool) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w: %w", errStore, errOpen, err)
	}
	cache := pebble.NewCache(memory * 3 / 8)
	defer cache.Unref()
	opts := &pebble.Options{Cache: cache, MemTableSize: uint64(memory / 8), MemTableStopWritesThreshold: 3, Logger: silent{}, DisableWAL: true}
	// What is written at once is small beside the history that it is merged into,
	// so it is to gather first. Each table more is one more to look into.
	opts.L0CompactionThreshold, opts.L0StopWritesThreshold = 24, 200
	if !keep {
		// Written once and read once: merging early and often would be for nothing.
		opts.L0CompactionThreshold, opts.LBaseMaxBytes = 40, 512<<20
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %w (another audit may be using it, as the role audit of a running comptoir does): %w", errStore, dir, errOpen, err)
	}
	s := &store{db: db, keep: keep, batch: db.NewBatch(), most: int(memory / 64), found: map[inv][]Violation{}, noted: map[string]bool{}, buf: make([]byte, 0, 4096)}
	data, err := s.get(key{keyMeta})
	if err == nil && data == nil {
		s.empty = true
		s.meta.positions = map[part]position{}
	} else if err == nil {
		s.meta, err = readMeta(data)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// silent discards Pebble's log.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}

// Fatalf must not return: Pebble's state is damaged.
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *store) close() error {
	err := s.batch.Close()
	if s.keep {
		err = errors.Join(err, s.db.Flush())
	}
	return errors.Join(err, s.db.Close())
}

// get reads what is committed under a key, nil if there is nothing.
func (s *store) get(k []byte) ([]byte, error) {
	v, c, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	defer c.Close()
	return append([]byte{}, v...), nil
}

func (s *store) set(k, v []byte) { _ = s.batch.Set(k, v, nil) } // a batch in memory takes anything

// room is where a fact may be encoded; the next one takes the same.
func (s *store) room() []byte { return s.buf[:0] }

// fact keeps a fact, and notes that its group has news.
func (s *store) fact(k, v []byte) {
	s.set(k, v)
	if s.meta.judged {
		s.dirty(k)
	}
}

// dirty notes that the group of a fact is to be judged: a sequence from that fact
// on, any other as a whole.
func (s *store) dirty(k []byte) {
	if !sequence(k[0]) {
		k = group(k)
	}
	if !s.noted[string(k)] {
		s.noted[string(k)] = true
		s.set(append(newKey(keyDirty), k...), nil)
	}
}

// full says that the batch should be committed.
func (s *store) full() bool { return s.batch.Len() >= s.most }

// commit makes what was set durable, together with the meta.
func (s *store) commit() error {
	s.set(key{keyMeta}, s.meta.append(nil))
	if err := s.batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	s.batch.Reset()
	clear(s.noted)
	return nil
}

// drop removes all keys with a prefix.
func (s *store) drop(prefix []byte) { _ = s.batch.DeleteRange(prefix, after(prefix), nil) }

// put sets the judgement on a group in place of its last one.
func (s *store) put(group []byte, st *status) error {
	if s.empty && st.clean() {
		return nil
	}
	k := append(key{keyStatus}, group...)
	var was status
	if !s.empty {
		get := s.get
		if v := s.standing; v != nil && group[0] == v.kind {
			get = v.get
		}
		old, err := get(k)
		if err != nil {
			return err
		}
		if old != nil {
			if was, err = readStatus(old); err != nil {
				return err
			}
			s.count(&was, -1)
			_ = s.batch.Delete(k, nil)
		}
	}
	if st.clean() {
		return nil
	}
	s.count(st, 1)
	s.set(k, st.append(nil))
	if before, ok := s.told[string(group)]; ok {
		was = before
	}
	for _, f := range st.found {
		if more := f.count - was.of(f.inv); more > 0 {
			if s.fresh[f.inv] += more; len(s.found[f.inv]) < maxFound {
				s.found[f.inv] = append(s.found[f.inv], f.first[len(f.first)-1])
			}
		}
	}
	if st.inFlight > 0 {
		s.set(append(key{keyTimer}.u64(uint64(st.until.UnixMilli())), group...), nil)
	}
	return nil
}

// of is how often an invariant is violated.
func (st *status) of(i inv) int64 {
	for _, f := range st.found {
		if f.inv == i {
			return f.count
		}
	}
	return 0
}

// maxTold bounds how many judgements with violations are remembered when they are
// taken back. What is beyond is told again.
const maxTold = 10_000

// forget removes the judgements on all groups whose keys begin with a prefix, so
// that they are made anew.
func (s *store) forget(prefix []byte) error {
	it, err := s.iter(append(key{keyStatus}, prefix...))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var st status
		if st, err = readStatus(it.Value()); err == nil {
			s.count(&st, -1)
			_ = s.batch.Delete(it.Key(), nil)
			if len(st.found) > 0 && len(s.told) < maxTold {
				for i := range st.found {
					st.found[i].first = nil
				}
				s.told[string(it.Key()[1:])] = st
			}
		}
	}
	return errors.Join(err, it.Error(), it.Close(), s.commit())
}

func (s *store) count(st *status, sign int64) {
	s.meta.tally.inFlight += sign * st.inFlight
	for i := range st.found {
		s.meta.tally.violations[st.found[i].inv] += sign * st.found[i].count
	}
}

// iter reads what is committed under a prefix.
func (s *store) iter(prefix []byte) (*pebble.Iterator, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	return it, nil
}

// standing is a view of the judgements on groups of one kind that were committed
// when it was opened. Nearly all groups are asked for in order and have none, which
// it knows without looking again.
type standing struct {
	kind byte
	it   *pebble.Iterator
	// none is between these keys; an empty end is that of the kind.
	from, to []byte
}

// stand opens the view for what is judged until it is closed. A group is judged
// once meanwhile.
func (s *store) stand(kind byte) (done func() error, err error) {
	it, err := s.iter(key{keyStatus, kind})
	if err != nil {
		return nil, err
	}
	s.standing = &standing{kind: kind, it: it}
	return func() error {
		s.standing = nil
		return it.Close()
	}, nil
}

// get reads a judgement, nil if there is none. What it returns is valid until the
// next call.
func (v *standing) get(k []byte) ([]byte, error) {
	if v.from != nil && bytes.Compare(v.from, k) <= 0 && (len(v.to) == 0 || bytes.Compare(k, v.to) < 0) {
		return nil, nil
	}
	found := v.it.SeekGE(k)
	if err := v.it.Error(); err != nil {
		return nil, fmt.Errorf("%w: %w", errStore, err)
	}
	v.from, v.to = append(v.from[:0], k...), v.to[:0]
	if !found {
		return nil, nil
	}
	v.to = append(v.to, v.it.Key()...)
	if !bytes.Equal(v.to, k) {
		return nil, nil
	}
	return v.it.Value(), nil
}

// maxSteps is how far away what is looked for may lie until it is searched for.
const maxSteps = 8

// forward brings an iterator to the first key from k on; it must not have passed
// that yet. It is nearly always close by, and a search looks into every table.
func forward(it *pebble.Iterator, k []byte) bool {
	for range maxSteps {
		if !it.Valid() || bytes.Compare(it.Key(), k) >= 0 {
			return it.Valid()
		}
		it.Next()
	}
	return it.SeekGE(k)
}

// groups calls f for each group of a kind that is to be judged: in the first
// round for all of them, later for those with news. from is the key of the first
// fact that is new. f gets an iterator over all facts of the kind, which stands at
// the group's first one and may be moved about in the group and just behind it; f
// may set keys and commit.
func (s *store) groups(kind byte, f func(facts *pebble.Iterator, group, from []byte) error) (err error) {
	facts, err := s.iter(key{kind})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, facts.Close()) }()
	done, err := s.stand(kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	var from []byte
	if !s.meta.judged {
		for ok := facts.First(); ok; {
			from = append(from[:0], facts.Key()...)
			g := group(from)
			if err := f(facts, g, from); err != nil {
				return err
			}
			if ok = facts.Valid(); ok && bytes.HasPrefix(facts.Key(), g) {
				ok = facts.SeekGE(after(g))
			}
		}
		return facts.Error()
	}
	news, err := s.iter(key{keyDirty, kind})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, news.Close()) }()
	facts.First()
	for ok := news.First(); ok; {
		from = append(from[:0], news.Key()[1:]...)
		g := group(from)
		forward(facts, g)
		if err := f(facts, g, from); err != nil {
			return err
		}
		ok = forward(news, append(key{keyDirty}, after(g)...))
	}
	return errors.Join(facts.Error(), news.Error())
}

// wake notes the groups whose time to wait has passed.
func (s *store) wake(now time.Time) error {
	it, err := s.iter(key{keyTimer})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		k := it.Key()
		if len(k) < 10 || binary.BigEndian.Uint64(k[1:]) > uint64(now.UnixMilli()) {
			break
		}
		s.dirty(k[9:])
		_ = s.batch.Delete(k, nil)
		if s.full() {
			err = s.commit()
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

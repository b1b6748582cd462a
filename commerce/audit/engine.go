package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// errHistory is in errors that say that the topics are not those read before.
var errHistory = errors.New("the topics have changed")

// source is what is read.
type source interface {
	// bounds returns what there is of each topic, so that every record whose
	// cause lies in another topic comes with its cause.
	bounds(ctx context.Context) (map[part]bound, error)
	// read calls f with the records from each position up to the bound, those of
	// a partition in their order, transaction markers too. It calls work when it
	// has waited for records and has some.
	read(ctx context.Context, from map[part]int64, to map[part]bound, f func(*Record) error, work func()) error
	// lags returns where consumer groups stand, in what they have read ever.
	lags(ctx context.Context) ([]lag, error)
	close()
}

// bound is what is readable of a partition.
type bound struct {
	id         [16]byte // of the topic
	start, end int64
}

// lag is where a group stands in a partition.
type lag struct {
	group, topic   string
	partition      int32
	committed, end int64
}

// engine runs rounds over one store. One goroutine uses it.
type engine struct {
	cfg    Config
	src    source
	s      *store
	m      *metrics
	clock  clock
	bounds map[part]bound
	first  map[part]int64 // what this round reads first, of partitions with news
	names  map[string]bool
	failed error // of a store that could not be read in between
	took   time.Duration
	notes  []string
	waits  map[lag]time.Time // since when a group stands where it stands
	stored map[part]int64    // how far the order database has read; nil without one
	batch  []*orderCheck     // to be compared with it
	// newestRow is up to which order of the database this round reads.
	newestRow int64
	shown     time.Time
	pace      *pace
	since     time.Time // what is missing is awaited at least since then

	scanned time.Time     // when the archive was read last
	scan    time.Duration // and how long that took
	joined  bool          // it was read in this round
}

func newEngine(cfg Config, src source, s *store) *engine {
	return &engine{cfg: cfg, src: src, s: s, m: cfg.metrics, pace: newPace(cfg.Share, cfg.Yield), names: map[string]bool{}, waits: map[lag]time.Time{}}
}

// progress tells how far a step is, now and then.
func (e *engine) progress(step string, done, total int64) {
	if now := time.Now(); now.Sub(e.shown) >= time.Second || done == total {
		e.shown = now
		e.cfg.Progress(Progress{step, done, total})
	}
}

// keepUp commits what has gathered, and rests if it is time.
func (e *engine) keepUp(ctx context.Context) error {
	if e.s.full() {
		if err := e.s.commit(); err != nil {
			return err
		}
	}
	return e.rested(ctx)
}

func (e *engine) rested(ctx context.Context) error {
	e.cfg.moved()
	return e.pace.rest(ctx)
}

// round reads what is new, judges what has changed, and compares.
func (e *engine) round(ctx context.Context) (err error) {
	begin := time.Now()
	e.batch, e.failed = nil, nil
	defer func() {
		// What was judged before something failed is judged again.
		err = errors.Join(err, e.s.commit())
		e.s.empty = false
	}()
	e.clock = clock{begin, e.cfg.Limit, e.since}
	e.pace.work()
	lags, err := e.src.lags(ctx)
	if err != nil {
		return err
	}
	if err := e.readArchive(ctx); err != nil {
		return err
	}
	if err := e.newest(ctx); err != nil {
		return err
	}
	if e.bounds, err = e.src.bounds(ctx); err != nil {
		return err
	}
	if err := e.check(); err != nil {
		return err
	}
	marks, err := e.read(ctx, lags)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		e.readRows, e.judge, e.compareArchive,
		func(ctx context.Context) error { return e.pending(ctx, lags, marks) },
	} {
		if err := errors.Join(step(ctx), e.failed); err != nil {
			return err
		}
	}
	e.s.drop(key{keyDirty})
	e.s.meta.judged = true
	if err := e.s.commit(); err != nil {
		return err
	}
	e.took = time.Since(begin)
	e.tell()
	return nil
}

// check holds what is there against what was read before.
func (e *engine) check() error {
	e.notes = nil
	for p, b := range e.bounds {
		at, known := e.s.meta.positions[p]
		name := topicNames[p.topic]
		switch {
		case known && at.id != b.id, known && at.next > b.end:
			return fmt.Errorf("%w: %s was made anew or has lost records since the last round: remove the folder %s to begin anew", errHistory, name, e.cfg.Dir)
		case !known && b.start > 0 && p.topic != tProducts, known && b.start > at.next:
			e.notes = append(e.notes, fmt.Sprintf("%s[%d] begins at %d: what was before is gone, and what follows from it cannot be judged", name, p.partition, b.start))
		}
		e.s.meta.positions[p] = position{b.id, max(at.next, b.start)}
	}
	if e.s.meta.gaps {
		e.notes = append(e.notes, "the catalogue was compacted: the names that products had are not checked")
	}
	slices.Sort(e.notes)
	return nil
}

// read takes what is new, and returns since when groups have left a record
// unread.
func (e *engine) read(ctx context.Context, lags []lag) (map[mark]*time.Time, error) {
	in := &reading{s: e.s, clock: e.clock, zone: e.cfg.Zone, first: !e.s.meta.judged, marks: map[mark]*time.Time{}, at: map[part][]mark{}}
	from, total := map[part]int64{}, int64(0)
	e.first = from
	for p, b := range e.bounds {
		in.partitions[p.topic] = max(in.partitions[p.topic], p.partition+1)
		if at := e.s.meta.positions[p].next; at < b.end {
			from[p] = at
			total += b.end - at
		}
	}
	for _, l := range lags {
		if t := topicIndex(l.topic); t != noTopic && l.committed < l.end {
			in.mark(mark{part{t, l.partition}, max(l.committed, 0)})
		}
	}
	e.m.read(e.s.meta.tally.records, total)
	done := int64(0)
	err := e.src.read(ctx, from, e.bounds, func(r *Record) error {
		if done++; done%1000 == 0 {
			e.progress("read", done, max(done, total))
			e.m.read(e.s.meta.tally.records, total-done)
		}
		if err := in.record(r); err != nil {
			return err
		}
		return e.rested(ctx)
	}, e.pace.work)
	if err != nil {
		return nil, err
	}
	for p, b := range e.bounds { // what follows the last record there is
		at := e.s.meta.positions[p]
		at.next = max(at.next, b.end)
		e.s.meta.positions[p] = at
	}
	e.m.read(e.s.meta.tally.records, 0)
	e.progress("read", total, total)
	return in.marks, e.s.commit()
}

// judge judges all groups with news.
func (e *engine) judge(ctx context.Context) error {
	if err := e.s.wake(e.clock.now); err != nil {
		return err
	}
	if err := e.s.commit(); err != nil {
		return err
	}
	err := e.each(ctx, keyOrder, func(it *pebble.Iterator, g []byte) error {
		id, _ := readID(g[1:])
		c := &orderCheck{e: e, id: id}
		if err := c.check(it, g); err != nil {
			return err
		}
		if c.held != nil {
			c.compareRow(c.held)
			return e.s.put(g, &c.st)
		}
		if e.batch = append(e.batch, c); len(e.batch) == rowsAtOnce || e.cfg.Database == nil {
			return e.compareRows(ctx)
		}
		return nil
	})
	if err := errors.Join(err, e.compareRows(ctx), e.s.commit()); err != nil {
		return err
	}
	for kind, f := range map[byte]func(*pebble.Iterator, []byte) (status, error){keyPlace: e.checkPlace, keySupply: e.checkSupply} {
		if err := e.each(ctx, kind, func(it *pebble.Iterator, g []byte) error {
			st, err := f(it, g)
			if err != nil {
				return err
			}
			return e.s.put(g, &st)
		}); err != nil {
			return err
		}
	}
	return errors.Join(
		e.sequences(ctx, keyProduct, readTail(tMovements), ledger, func(g []byte, last *step) error { return e.compareStock(ctx, g, last) }),
		e.sequences(ctx, keyNumber, readTail(tInvoices), e.numbers, nil),
		e.sequences(ctx, keySequence, readTail(tInvoices), issued, nil),
		e.sequences(ctx, keyLane, readLane, lanes, nil),
		e.s.commit())
}

// steps name what is judged, for progress.
var steps = map[byte]string{keyOrder: "judge orders", keyPlace: "judge records", keySupply: "judge supplies"}

// each calls f for each group of a kind that is to be judged, with an iterator
// that stands at its first fact.
func (e *engine) each(ctx context.Context, kind byte, f func(it *pebble.Iterator, g []byte) error) error {
	done := int64(0)
	return e.s.groups(kind, func(it *pebble.Iterator, g, _ []byte) error {
		if done++; done%1000 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			e.progress(steps[kind], done, 0)
		}
		if err := f(it, g); err != nil {
			return err
		}
		return e.keepUp(ctx)
	})
}

// report is what was found in all rounds so far.
func (e *engine) report() (Report, error) {
	t := &e.s.meta.tally
	r := Report{At: e.clock.now.UTC(), Took: e.took, Records: t.records, InFlight: t.inFlight, Notes: e.notes, Invariants: make([]Result, invariants)}
	for i := range Invariants {
		res := Result{ID: Invariants[i].ID, Description: Invariants[i].Description, Checked: t.checked[i], Violations: t.violations[i]}
		if why := e.unchecked(inv(i)); why != "" {
			res.NotChecked, res.Checked = why, 0
		}
		r.Violations += res.Violations
		r.Invariants[i] = res
	}
	it, err := e.s.iter(key{keyStatus})
	if err != nil {
		return Report{}, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var st status
		if st, err = readStatus(it.Value()); err == nil {
			for _, f := range st.found {
				first := &r.Invariants[f.inv].First
				*first = append(*first, f.first[:min(len(f.first), MaxKept-len(*first))]...)
			}
		}
	}
	return r, errors.Join(err, it.Error(), it.Close())
}

func (e *engine) unchecked(i inv) string {
	switch Invariants[i].Needs {
	case "database":
		if e.cfg.Database == nil {
			return "no order database is given"
		}
	case "archive":
		if e.cfg.Archive == nil {
			return "no archive is given"
		}
	}
	return ""
}

// tell tells metrics and log of the round.
func (e *engine) tell() {
	e.m.round(&e.s.meta.tally, e.clock.now, e.took)
	for i, n := range e.s.fresh {
		for _, f := range e.s.found[inv(i)] {
			e.cfg.Logger.Error("invariant violated", "invariant", Invariants[i].ID, "topic", f.Topic, "partition", f.Partition, "offset", f.Offset, "detail", f.Detail)
		}
		if more := n - int64(len(e.s.found[inv(i)])); more > 0 {
			e.cfg.Logger.Error("invariant violated more often", "invariant", Invariants[i].ID, "more", more)
		}
	}
	e.s.found, e.s.fresh = map[inv][]Violation{}, [invariants]int64{}
}

package jdbc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/comptoir/comptoir/connect"
)

// store is what the sink asks of a database. Its errors are classified:
// connect.Retriable for what heals, *refused for a row, others for the rest.
type store interface {
	// assign takes partitions over: see connect.PartitionOwner.
	assign(ctx context.Context, connector string, partitions []connect.Assignment) (map[connect.TopicPartition]owned, error)
	offsets(ctx context.Context, connector string) (map[connect.TopicPartition]int64, error)
	setOffsets(ctx context.Context, connector string, offsets map[connect.TopicPartition]int64) error
	// describe returns the table called name, its columns nil if it is missing.
	describe(ctx context.Context, name string) (*table, error)
	// create makes the table, or adds to one that appeared meanwhile.
	create(ctx context.Context, t *table, cells []cell, keys int) error
	addColumns(ctx context.Context, t *table, cells []cell) error
	bind(c *column, in cell) (any, error)
	// write writes rows and offsets in one transaction.
	write(ctx context.Context, w *write) error
	close()
}

// write is one transaction: rows in the order of the batch.
type write struct {
	connector string
	settings  *settings
	rows      []*row
	parts     map[connect.TopicPartition]owned
	// reject hands over a row the database refused. nil: go on without it.
	reject func(ctx context.Context, r *row, cause error) error
}

// move is the step of one partition's stored offset.
type move struct {
	connect.TopicPartition
	old, next, epoch int64
}

// moves returns how far the partitions are after the first n rows.
func (w *write) moves(n int) []move {
	index := make(map[connect.TopicPartition]int)
	var out []move
	for _, r := range w.rows[:n] {
		i, ok := index[r.rec.TopicPartition]
		if !ok {
			p := w.parts[r.rec.TopicPartition]
			i = len(out)
			index[r.rec.TopicPartition] = i
			out = append(out, move{TopicPartition: r.rec.TopicPartition, old: p.next, epoch: p.epoch})
		}
		out[i].next = r.rec.Offset + 1
	}
	return out
}

// owned is a partition's row in _connect_offsets.
type owned struct{ next, epoch int64 }

// refused is an error of a row, as opposed to one of the database.
type refused struct{ err error }

func (e *refused) Error() string { return e.err.Error() }
func (e *refused) Unwrap() error { return e.err }

// uncertain is an error after which nobody knows whether the transaction was
// committed.
type uncertain struct{ err error }

func (e *uncertain) Error() string { return "outcome of the commit is unknown: " + e.err.Error() }
func (e *uncertain) Unwrap() error { return e.err }

// stopped is a refused row that stops the task; what came before it is written.
type stopped struct {
	n   int // rows written before it
	err error
}

func (e *stopped) Error() string { return e.err.Error() }
func (e *stopped) Unwrap() error { return e.err }

// putTimeout bounds one transaction: a database that hangs counts as down.
const putTimeout = time.Minute

type sink struct {
	connector string
	settings  settings
	logger    *slog.Logger
	report    func(context.Context, *connect.Record, error) error
	store     store

	// tables is used by Put alone.
	tables map[string]*table

	mu    sync.Mutex
	parts map[connect.TopicPartition]owned
	ids   map[connect.TopicPartition]connect.Assignment
	// doubt holds the partitions whose last commit has an unknown outcome, until
	// their offsets are read again.
	doubt map[connect.TopicPartition]bool
}

var _ connect.PartitionOwner = (*sink)(nil)

func newSink(tc connect.TaskContext) (connect.Sink, error) {
	st, err := newSettings(tc.Values)
	if err != nil {
		return nil, err
	}
	return &sink{connector: tc.Connector, settings: st, logger: tc.Logger, report: tc.Report,
		tables: make(map[string]*table), parts: make(map[connect.TopicPartition]owned), ids: make(map[connect.TopicPartition]connect.Assignment),
		doubt: make(map[connect.TopicPartition]bool)}, nil
}

func (s *sink) Start(ctx context.Context) (err error) {
	if s.settings.target.postgres != nil {
		s.store, err = openPostgres(ctx, s.settings.target.postgres)
	} else {
		s.store, err = openSQLite(s.settings.target.sqlite)
	}
	return err
}

func (s *sink) Stop(context.Context) error {
	if s.store != nil {
		s.store.close()
	}
	return nil
}

func (s *sink) Assign(ctx context.Context, partitions []connect.Assignment) (map[connect.TopicPartition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	got, err := s.store.assign(ctx, s.connector, partitions)
	if err != nil {
		return nil, err
	}
	next := make(map[connect.TopicPartition]int64, len(got))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range partitions {
		p := got[a.TopicPartition]
		s.parts[a.TopicPartition], s.ids[a.TopicPartition] = p, a
		delete(s.doubt, a.TopicPartition)
		next[a.TopicPartition] = p.next
	}
	return next, nil
}

func (s *sink) Offsets(ctx context.Context) (map[connect.TopicPartition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return s.store.offsets(ctx, s.connector)
}

func (s *sink) SetOffsets(ctx context.Context, offsets map[connect.TopicPartition]int64) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return s.store.setOffsets(ctx, s.connector, offsets)
}

// settle reads the offsets again of those partitions of the batch whose last
// commit has an unknown outcome. Raising the epoch waits for the transaction in
// doubt, if the server still has it. Other partitions are left alone: they may
// belong to another task by now.
func (s *sink) settle(ctx context.Context, batch []*connect.Record) error {
	s.mu.Lock()
	var again []connect.Assignment
	seen := make(map[connect.TopicPartition]bool)
	for _, r := range batch {
		if tp := r.TopicPartition; len(s.doubt) > 0 && s.doubt[tp] && !seen[tp] {
			seen[tp] = true
			again = append(again, s.ids[tp])
		}
	}
	s.mu.Unlock()
	if len(again) == 0 {
		return nil
	}
	_, err := s.Assign(ctx, again)
	return err
}

func (s *sink) Put(ctx context.Context, batch []*connect.Record) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := s.settle(ctx, batch); err != nil {
		return err
	}
	w := &write{connector: s.connector, settings: &s.settings, parts: make(map[connect.TopicPartition]owned)}
	s.mu.Lock()
	for _, r := range batch {
		p, mine := s.parts[r.TopicPartition]
		if !mine {
			s.mu.Unlock()
			return connect.ErrFenced
		}
		if r.Offset < p.next {
			continue // written before: Kafka delivered it again
		}
		w.parts[r.TopicPartition] = p
		w.rows = append(w.rows, &row{rec: r})
	}
	s.mu.Unlock()
	if len(w.rows) == 0 {
		return nil
	}
	// A row that cannot be mapped stops the batch there, unless it is tolerated.
	var stop error
	for i, r := range w.rows {
		if r.rec.Skip {
			continue
		}
		mapped, err := s.prepare(ctx, r.rec)
		var bad *refused
		if errors.As(err, &bad) {
			if err = s.report(ctx, r.rec, err); err == nil {
				continue
			}
			if !connect.IsRetriable(err) {
				w.rows, stop = w.rows[:i], err
				break
			}
		}
		if err != nil {
			return err
		}
		w.rows[i] = mapped
	}
	w.reject = func(ctx context.Context, r *row, cause error) error { return s.report(ctx, r.rec, cause) }
	if err := s.commit(ctx, w); err != nil {
		return err
	}
	return stop
}

// commit writes and takes over what was committed.
func (s *sink) commit(ctx context.Context, w *write) error {
	if len(w.rows) == 0 {
		return nil
	}
	err := s.store.write(ctx, w)
	var unknown *uncertain
	var halt *stopped
	n := len(w.rows)
	switch {
	case errors.As(err, &unknown):
		s.mu.Lock()
		for tp := range w.parts {
			s.doubt[tp] = true
		}
		s.mu.Unlock()
		return connect.Retriable(err)
	case errors.As(err, &halt):
		n, err = halt.n, halt.err
	case err != nil:
		// Whatever it was, it may have to do with a table that changed.
		clear(s.tables)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range w.moves(n) {
		if p := s.parts[m.TopicPartition]; p.epoch == m.epoch {
			s.parts[m.TopicPartition] = owned{next: m.next, epoch: m.epoch}
		}
	}
	return err
}

// prepare maps a record to a row of an existing table, creating or extending
// the table if the settings allow it.
func (s *sink) prepare(ctx context.Context, rec *connect.Record) (*row, error) {
	r, err := s.settings.newRow(rec)
	if err != nil {
		return nil, &refused{err}
	}
	t, err := s.table(ctx, rec.Topic, r)
	if err != nil {
		return nil, err
	}
	if missing := r.missing(t); len(missing) > 0 {
		if !s.settings.evolve {
			return nil, &refused{fmt.Errorf("table %s has no column %q; add it, or set auto.evolve=true, or name the fields to write in fields.whitelist", t, missing[0].name)}
		}
		if err := s.store.addColumns(ctx, t, missing); err != nil {
			return nil, fmt.Errorf("add %d column(s) to table %s: %w", len(missing), t, err)
		}
		s.logger.Info("columns added", "table", t.String(), "columns", len(missing))
		delete(s.tables, rec.Topic)
		if t, err = s.table(ctx, rec.Topic, r); err != nil {
			return nil, err
		}
		if still := r.missing(t); len(still) > 0 {
			return nil, &refused{fmt.Errorf("field %q cannot have a column of its own in table %s", still[0].name, t)}
		}
	}
	if err := r.bind(t, s.store.bind); err != nil {
		return nil, &refused{fmt.Errorf("table %s: %w", t, err)}
	}
	if len(r.cols) == 0 {
		return nil, &refused{errors.New("the value has no field with a value: there is nothing to write")}
	}
	return r, nil
}

func (s *sink) table(ctx context.Context, topic string, r *row) (*table, error) {
	if t := s.tables[topic]; t != nil {
		return t, nil
	}
	t, err := s.store.describe(ctx, s.settings.tableName(topic))
	if err != nil {
		return nil, err
	}
	if t.columns == nil {
		if !s.settings.create {
			return nil, connect.Retriable(fmt.Errorf("table %s does not exist; create it, or set auto.create=true", t))
		}
		var cells []cell
		for i, c := range r.cells {
			if c.value.Kind != connect.Null || i < r.keys {
				cells = append(cells, c)
			}
		}
		if len(cells) == 0 {
			return nil, &refused{errors.New("the value has no field with a value to create a table from")}
		}
		if err := s.store.create(ctx, t, cells, r.keys); err != nil {
			return nil, fmt.Errorf("create table %s: %w", t, err)
		}
		s.logger.Info("table created", "table", t.String())
		if t, err = s.store.describe(ctx, s.settings.tableName(topic)); err != nil {
			return nil, err
		}
	}
	s.tables[topic] = t
	return t, nil
}

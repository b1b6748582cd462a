package track

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// chunk is a partition's share of a fetch.
type chunk struct {
	tp   orderdb.Partition
	p    *openPartition
	end  int64 // behind its last record, trailing markers included
	data bool  // there is more than markers
	to   orderdb.Position
	// Where the chunk's levels and products of said end; they begin where those of
	// the chunk before end.
	levels, products int
}

// returned drops what the batch has of a partition that was lost since and is
// ours again: it is read again from where the database is.
func (b *batch) returned(tp orderdb.Partition, p *openPartition) {
	for _, c := range slices.Backward(b.chunks) {
		if c.tp != tp {
			continue
		}
		if c.p != p {
			b.drop(tp)
		}
		return
	}
}

// drop takes a partition out of the batch.
func (b *batch) drop(tp orderdb.Partition) {
	said, kept := b.said, b.chunks[:0:0]
	b.only(&said, func(c *chunk) bool { return c.tp != tp })
	var levels, products, l, p int
	for _, c := range b.chunks {
		ownLevels, ownProducts := c.levels-l, c.products-p
		l, p = c.levels, c.products
		if c.tp == tp {
			continue
		}
		levels, products = levels+ownLevels, products+ownProducts
		c.levels, c.products = levels, products
		kept = append(kept, c)
	}
	b.said, b.chunks, b.joined = said, kept, nil
}

// only makes said what the batch has of some chunks: of a partition all or none.
func (b *batch) only(said *orderdb.Batch, of func(*chunk) bool) {
	said.Orders, said.Levels, said.Products = nil, nil, nil
	kept := make(map[orderdb.Partition]bool)
	var l, p int
	for i := range b.chunks {
		c := &b.chunks[i]
		if of(c) {
			kept[c.tp] = true
			said.Levels = append(said.Levels, b.said.Levels[l:c.levels]...)
			said.Products = append(said.Products, b.said.Products[p:c.products]...)
		}
		l, p = c.levels, c.products
	}
	for _, c := range b.said.Orders {
		if c, left := without(c, func(e orderdb.Entry) bool {
			return kept[orderdb.Partition{Topic: e.Topic, Partition: e.Partition}]
		}); left {
			said.Orders = append(said.Orders, c)
		}
	}
}

// empty says that there are only markers, which the database need not know.
func (b *batch) empty() bool {
	for i := range b.chunks {
		if b.chunks[i].data {
			return false
		}
	}
	return true
}

// advance notes that the batch is in the database.
func (b *batch) advance() {
	for i := range b.chunks {
		c := &b.chunks[i]
		c.p.applied = c.end
	}
}

// lapse is a partition whose log went back, to the offset.
type lapse struct {
	tp orderdb.Partition
	to orderdb.Position
}

// index adds what was fetched to a batch, which is nil while there is nothing.
// What comes again means that the log went back: then there is no batch.
func (s *session) index(b *batch, fetches kgo.Fetches) (_ *batch, back *lapse) {
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		if len(ftp.Records) == 0 || back != nil {
			return
		}
		c := chunk{tp: orderdb.Partition{Topic: ftp.Topic, Partition: ftp.Partition}}
		s.mu.Lock()
		c.p = s.open[c.tp]
		s.mu.Unlock()
		if c.p == nil {
			return
		}
		if first := ftp.Records[0].Offset; first < c.p.read.Load() {
			back = &lapse{c.tp, orderdb.Position{Topic: c.p.topic, Next: first}}
			return
		}
		if b == nil {
			b = &batch{}
			b.said.Orders = make([]orderdb.OrderChange, 0, fetches.NumRecords())
		} else {
			b.returned(c.tp, c.p)
		}
		skipped := 0
		records := 0
		for _, r := range ftp.Records {
			if r.Attrs.IsControl() {
				continue
			}
			records++
			if !b.add(r) {
				skipped++
			}
		}
		if records > 0 {
			s.t.metrics.records.WithLabelValues(ftp.Topic).Add(float64(records))
			c.data = true
		}
		if skipped > 0 {
			s.t.metrics.skipped.WithLabelValues(ftp.Topic).Add(float64(skipped))
		}
		c.end = ftp.Records[len(ftp.Records)-1].Offset + 1
		c.p.read.Store(c.end)
		s.step.hear(&c.p.place, &ftp)
		c.to = orderdb.Position{Topic: c.p.topic, Next: c.end}
		c.levels, c.products = len(b.said.Levels), len(b.said.Products)
		b.chunks = append(b.chunks, c)
	})
	if back != nil {
		return nil, back
	}
	return b, nil
}

// wentBack makes the database forget what a log has lost, and ends the session.
func (s *session) wentBack(l *lapse) error {
	s.t.log.Warn("partition went back, what was lost is forgotten", "topic", l.tp.Topic, "partition", l.tp.Partition, "to", l.to.Next)
	err := retry(s.ctx, func(ctx context.Context) error {
		return s.t.database(ctx, "forget lost records", s.t.cfg.DB.Forget(ctx, l.tp, l.to))
	})
	if err != nil {
		return err
	}
	return fmt.Errorf("topic %s partition %d went back to offset %d: %w", l.tp.Topic, l.tp.Partition, l.to.Next, errReopen)
}

// flight is a batch that is being applied.
type flight struct {
	b       *batch
	done    chan struct{}
	landing context.Context // ends with done
	began   time.Time
	took    time.Duration // once it has landed
	err     error
}

func (f *flight) landed() bool { return f.landing.Err() != nil }

// launch applies b in a goroutine of its own, which land joins.
func (s *session) launch(b *batch) *flight {
	landing, end := context.WithCancel(context.Background())
	f := &flight{b: b, done: make(chan struct{}), landing: landing, began: time.Now()}
	s.mu.Lock()
	s.flight = f
	s.mu.Unlock()
	go func() {
		defer end()
		defer close(f.done)
		f.err = s.apply(b)
		f.took = time.Since(f.began)
	}()
	return f
}

func (s *session) land(f *flight) error {
	<-f.done
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.b.advance()
	if s.t.cfg.Applied != nil {
		s.t.cfg.Applied()
	}
	return nil
}

// apply brings a batch into the database: until it is there, somebody else has
// been there, or the session ends.
func (s *session) apply(b *batch) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		said := s.current(b)
		if len(said.To) == 0 {
			return nil // all partitions were revoked
		}
		begin := time.Now()
		err := s.attempt(said)
		if err == nil {
			s.t.metrics.applied(begin)
		}
		if err == nil {
			s.t.health.set(causeDatabase, nil)
			for i := range b.chunks {
				b.chunks[i].p.stored = b.chunks[i].to
			}
			return nil
		}
		if errors.Is(err, errReopen) {
			return err
		}
		if s.t.hard.Err() == nil {
			s.t.health.set(causeDatabase, err)
		}
		if !lifecycle.Sleep(s.ctx, wait) {
			return err
		}
	}
}

// attempt applies a batch once. ErrMoved can mean that an attempt whose outcome
// was unknown had succeeded (nil), or that somebody else has been there
// (errReopen).
func (s *session) attempt(said orderdb.Batch) error {
	ctx, cancel := context.WithTimeout(s.t.hard, callTimeout)
	defer cancel()
	err := s.t.cfg.DB.Apply(ctx, said)
	if !errors.Is(err, orderdb.ErrMoved) {
		return err
	}
	positions, err := s.t.cfg.DB.Positions(ctx)
	if err != nil {
		return err
	}
	for tp, to := range said.To {
		if positions[tp] != to {
			return fmt.Errorf("another instance has tracked topic %s partition %d: %w", tp.Topic, tp.Partition, errReopen)
		}
	}
	return nil
}

// current is what of the batch belongs to partitions that are still ours.
func (s *session) current(b *batch) orderdb.Batch {
	said := b.said
	said.From = make(map[orderdb.Partition]orderdb.Position, len(b.chunks))
	said.To = make(map[orderdb.Partition]orderdb.Position, len(b.chunks))
	s.mu.Lock()
	defer s.mu.Unlock()
	all := true
	for i := range b.chunks {
		if c := &b.chunks[i]; s.open[c.tp] == c.p {
			said.From[c.tp], said.To[c.tp] = c.p.stored, c.to
		} else {
			all = false
		}
	}
	if all {
		return said
	}
	b.only(&said, func(c *chunk) bool { return s.open[c.tp] == c.p })
	return said
}

// commitOffsets commits, and reports what failed of it.
func commitOffsets(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) (failed error) {
	cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					failed = e
				}
			}
		}
	})
	return failed
}

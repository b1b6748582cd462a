package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

const (
	// pace is the time between two orders: slow enough that one can see them
	// cross, and that a latency is an order's own rather than a queue's.
	pace = 30 * time.Millisecond
	// redraw is the time between two drawings of the table.
	redraw = 40 * time.Millisecond
	// ask is the time between two questions for lags and archive.
	ask = 20 * time.Millisecond
	// defaultLimit is how long orders may take to end, and then groups and
	// archive to come to rest.
	defaultLimit = 15 * time.Second
	// restBefore is how long the groups may take to finish earlier work, such
	// as loading the catalogue, before the orders are sent anyway.
	restBefore = 5 * time.Second
)

// Config says where the demo runs and how it is shown.
type Config struct {
	// Kafka reaches the cluster. The public topics must exist.
	Kafka kclient.Config
	// API is the URL of the order API, by which half of the orders go. Empty
	// sends all of them by Kafka.
	API string
	// Groups are the consumer groups whose lag is shown and must come to 0.
	Groups []string
	// Archive counts the archived rows of the invoices with the given numbers.
	// Nil leaves the archive out.
	Archive func(ctx context.Context, numbers []string) (int, error)
	// Out receives the text. Nobody else should write to the same terminal
	// while Run runs.
	Out io.Writer
	// Terminal says that Out understands ANSI sequences: a table is redrawn in
	// place, in colours unless the environment has NO_COLOR. Else plain lines
	// are written, one per step.
	Terminal bool
	// Width is the columns of Out. Longer lines are cut. 0 means 80 on a
	// terminal and no limit elsewhere.
	Width int
	// Height is the rows of Out. A terminal too low for the table gets plain
	// lines. 0 means high enough.
	Height int
	// Now is the clock of all measurements. Defaults to time.Now.
	Now func() time.Time

	limit time.Duration // defaults to defaultLimit
}

// run is one run of the demo. Its goroutine owns everything in it.
type run struct {
	cfg    Config
	board  *board
	watch  *watcher
	view   view
	paint  *painter
	latest []GroupLag
	rows   int
}

// view shows the orders while they cross.
type view interface {
	// crossed is told every record of an order, as it is read.
	crossed(p *progress, h hop)
	// refresh shows what has changed, if the view does not show it at once.
	refresh()
}

// Run sends the 20 orders of the demo under new ids, shows them crossing, and
// then one order's timeline and a summary. It returns when every order has
// ended and groups and archive are at rest, or cannot be waited for any
// longer: 15 s each. The error names the orders that did not end as promised;
// what else is missing stands in the Summary alone.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.limit == 0 {
		cfg.limit = defaultLimit
	}
	r := &run{cfg: cfg, board: newBoard(series(cfg.Now()), cfg.API != "")}
	r.paint = newPainter(cfg, os.Getenv("NO_COLOR") != "")
	if cfg.Terminal && (cfg.Height == 0 || cfg.Height > tableHeight(r.board)) {
		r.view = &table{board: r.board, paint: r.paint}
	} else {
		r.view = &lines{paint: r.paint}
	}
	var err error
	if r.watch, err = watch(ctx, cfg.Kafka, cfg.Now); err != nil {
		return Summary{}, fmt.Errorf("demo: %w", err)
	}
	defer r.watch.close()

	r.paint.title(r.board)
	if missing, err := r.settle(ctx, restBefore, r.earlierWork); err != nil {
		return Summary{}, fmt.Errorf("demo: %w", err)
	} else if len(missing) > 0 {
		r.paint.note("earlier work is not finished, the orders are sent all the same: " + strings.Join(missing, "; "))
	}
	if err := r.cross(ctx); err != nil {
		return Summary{}, fmt.Errorf("demo: %w", err)
	}
	r.view.refresh()
	limit := cfg.limit
	if len(r.failed()) > 0 {
		limit = 0 // what is at rest or not is told, but not waited for
	}
	missing, err := r.settle(ctx, limit, r.allAtRest)
	if err != nil {
		return Summary{}, fmt.Errorf("demo: %w", err)
	}
	r.view.refresh()

	s := r.summary(missing)
	r.paint.timeline(r.board.orders[followed])
	r.paint.summary(r.board, s)
	if err := r.failure(); err != nil {
		return s, fmt.Errorf("demo: %w", err)
	}
	if r.paint.err != nil {
		return s, fmt.Errorf("demo: write the output: %w", r.paint.err)
	}
	return s, nil
}

// started says that an order is about to be sent.
type started struct {
	order int
	at    time.Time
}

// cross sends the orders and returns when all of them are over, or the limit
// has passed since the last was sent.
func (r *run) cross(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	starts, sent := make(chan started), make(chan error, 1)
	go func() { sent <- r.send(ctx, starts) }()
	sending := true
	defer func() {
		stop()
		if sending {
			<-sent
		}
	}()
	drawing := time.NewTicker(redraw)
	defer drawing.Stop()
	var limit <-chan time.Time
	for sending || !r.board.over() {
		select {
		case s := <-starts:
			if p := r.board.orders[s.order]; p.sentAt.IsZero() {
				p.sentAt = s.at
			}
		case err := <-sent:
			sending = false
			if err != nil {
				return err
			}
			limit = time.After(r.cfg.limit)
		case b := <-r.watch.batches:
			if err := r.take(b); err != nil {
				return err
			}
		case <-drawing.C:
			r.view.refresh()
		case <-limit:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// send sends the orders one after another, each acknowledged before the next:
// by the order API, which answers when it is durable, or by all replicas of the
// partition that Kafka's own producer would choose for the key.
func (r *run) send(ctx context.Context, starts chan<- started) error {
	cl, err := r.cfg.Kafka.New(
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(defaultLimit),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for _, i := range r.board.sends() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		o, now := r.board.orders[i].order, r.cfg.Now()
		select {
		case starts <- started{i, now}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if o.http {
			if err := place(ctx, r.cfg.API, o); err != nil {
				return err
			}
			continue
		}
		record := &kgo.Record{Topic: event.TopicOrders, Key: []byte(o.key), Value: o.value, Timestamp: now}
		if err := cl.ProduceSync(ctx, record).FirstErr(); err != nil {
			return fmt.Errorf("send order %s to %s: %w", o.id, record.Topic, err)
		}
	}
	return nil
}

// take folds a batch into the board and shows what it brought. One fetch brings
// several steps of an order, in the order of their partitions: they are told in
// the order in which they were written.
func (r *run) take(b batch) error {
	slices.SortStableFunc(b.records, func(a, b *kgo.Record) int {
		if c := a.Timestamp.Compare(b.Timestamp); c != 0 {
			return c
		}
		return slices.Index(watched, a.Topic) - slices.Index(watched, b.Topic)
	})
	for _, record := range b.records {
		if !record.Attrs.IsControl() {
			if p, h := r.board.fold(record, b.at); p != nil {
				r.view.crossed(p, h)
			}
		}
		r.watch.passed(record)
	}
	return b.err
}

// settle asks until nothing is missing or the limit has passed, and takes
// meanwhile what comes. It asks at least once.
func (r *run) settle(ctx context.Context, limit time.Duration, question func(context.Context) []string) (missing []string, err error) {
	deadline := time.After(limit)
	asking := time.NewTicker(ask)
	defer asking.Stop()
	for {
		if missing = question(ctx); len(missing) == 0 {
			return nil, nil
		}
		select {
		case b := <-r.watch.batches:
			if err := r.take(b); err != nil {
				return missing, err
			}
		case <-asking.C:
		case <-deadline:
			return missing, nil
		case <-ctx.Done():
			return missing, ctx.Err()
		}
	}
}

// earlierWork says which groups are still busy with what was there before. A
// group that does not exist yet has nothing to finish.
func (r *run) earlierWork(ctx context.Context) []string {
	return r.groupsBehind(ctx, false)
}

// allAtRest asks for the groups, for the archive, and whether all that was
// written until then has been watched: only then is an order's ending final.
func (r *run) allAtRest(ctx context.Context) []string {
	missing := r.groupsBehind(ctx, true)
	if ends, err := r.watch.ends(ctx); err != nil {
		missing = append(missing, err.Error())
	} else if !r.watch.reached(ends) {
		missing = append(missing, "the topics still grow")
	}
	if r.cfg.Archive != nil {
		rows, absent := archived(ctx, r.cfg.Archive, r.board.invoices())
		r.rows, missing = rows, append(missing, absent...)
	}
	return missing
}

func (r *run) groupsBehind(ctx context.Context, mustExist bool) []string {
	latest, err := lags(ctx, r.watch.adm, r.cfg.Groups)
	if err != nil {
		return []string{err.Error()}
	}
	r.latest = latest
	return behind(latest, mustExist)
}

// failed returns the orders that did not end as promised.
func (r *run) failed() (failed []*progress) {
	for _, p := range r.board.orders {
		if !p.kept() {
			failed = append(failed, p)
		}
	}
	return failed
}

// failure is the error that names them.
func (r *run) failure() error {
	failed := r.failed()
	if len(failed) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d orders did not end as promised:", len(failed), len(r.board.orders))
	for _, p := range failed {
		fmt.Fprintf(&b, " %s (%s);", p.id, shortfall(p))
	}
	b.WriteString(" see the log and /readyz for what stands still")
	return errors.New(b.String())
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeFlags struct {
	fromBeginning         bool
	max                   int
	group, offset, format string
	timeout               time.Duration
	last                  int
}

func (a *app) consumeCommand() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Read committed records and print them",
		Long: `Read committed records, from now on unless told otherwise, until interrupted.
The default output is each value on a line. -o json writes one object per line
with key, headers, timestamp and position, which produce --input json reads
back without loss. -f takes a format: %t topic, %p partition, %o offset, %k key,
%v value, %h{%k=%v } headers, %d{go##15:04:05##} time; \n and \t are escapes.

--offset says what to read of each partition: start, end, an offset, +n (from
the start), -n (before the end), @time (RFC 3339, a date, milliseconds or -1h),
or a range FROM:TO of two of these, after which the command ends. An offset may
be that of a transaction marker, which is no record: -1 often shows nothing.
--last counts records instead: the last N of all the partitions together, oldest
first, after which the command ends.

With -g it joins that consumer group and commits what it has printed. Comptoir's
services have a group protocol of their own: their groups refuse it.`,
		Example: `  comptoir consume factures.ecommerce --from-beginning -n 2
  comptoir consume notifications.clients --last 3
  comptoir consume commandes.erreurs --offset @-1h:end -o json
  comptoir consume stock.verifie paiement-accepte -f '%t %p/%o %k %v\n'`,
		Args:              some("TOPIC"),
		ValidArgsFunction: complete(0, a.topicNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.consume(cmd.Context(), args, f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.fromBeginning, "from-beginning", false, "from the first record; with -g only where the group has no offset")
	fl.IntVarP(&f.max, "max-messages", "n", 0, "end after so many records; 0 means never")
	fl.StringVarP(&f.group, "group", "g", "", "consumer `GROUP` to join")
	fl.StringVar(&f.offset, "offset", "", "what to read of each partition")
	fl.StringVarP(&f.format, "format", "f", "", "how to print a record")
	fl.IntVar(&f.last, "last", 0, "the last `N` committed records")
	fl.DurationVar(&f.timeout, "timeout", 0, "end when no record came for so long; 0 means never")
	must(cmd.RegisterFlagCompletionFunc("group", complete(0, a.groupNames)))
	a.brokersFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

func (f consumeFlags) bounds(now time.Time) (from, to bound, err error) {
	switch {
	case f.max < 0 || f.timeout < 0:
		return from, to, usagef("--max-messages and --timeout are 0 or more")
	case f.last < 0 || f.last > maxLast:
		return from, to, usagef("--last is a number from 1 to %d", maxLast)
	case f.last > 0 && (f.fromBeginning || f.offset != "" || f.group != "" || f.max > 0):
		return from, to, usagef("--last says all: give it without --from-beginning, --offset, --group and --max-messages")
	case f.offset != "" && f.fromBeginning:
		return from, to, usagef("give --offset or --from-beginning, not both")
	case f.offset != "" && f.group != "":
		return from, to, usagef("a group goes on from its committed offsets: move them with `comptoir group reset`, or leave out --group")
	case f.offset != "":
		return parseOffsets(f.offset, now)
	case f.fromBeginning:
		return bound{kind: boundStart}, to, nil
	}
	return bound{kind: boundEnd}, to, nil
}

func (a *app) consume(ctx context.Context, topics []string, f consumeFlags) error {
	from, to, err := f.bounds(time.Now())
	if err != nil {
		return err
	}
	out, err := a.recordPrinter(f.format)
	if err != nil {
		return err
	}
	opts := []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Transaction markers are not printed, but they are read: a range may
		// end with one, and a group's commit must pass them to reach lag 0.
		kgo.KeepControlRecords(),
	}
	if f.group != "" {
		reset := kgo.NewOffset().AtEnd()
		if f.fromBeginning {
			reset = kgo.NewOffset().AtStart()
		}
		opts = append(opts, kgo.ConsumerGroup(f.group), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(reset), kgo.DisableAutoCommit())
	}
	cl, err := a.kafka(ctx, opts...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	adm := kadm.NewClient(cl)
	known, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	for _, t := range known.Sorted() {
		if t.Err != nil {
			return unknownTopic(t.Topic)
		}
	}
	if f.last > 0 {
		return showLast(ctx, cl, adm, topics, f, out)
	}
	r := reader{cl: cl, out: out, max: f.max, idle: f.timeout, group: f.group}
	if f.group == "" {
		parts, err := spans(ctx, adm, topics, from, to)
		if err != nil {
			return err
		}
		if !r.assign(parts) {
			return nil // an empty range
		}
		r.ranged = to.kind != boundNone
	}
	return r.run(ctx)
}

// reader prints records until something ends it.
type reader struct {
	cl    *kgo.Client
	out   recordPrinter
	max   int
	idle  time.Duration
	group string

	ranged bool
	left   map[topicPartition]int64 // where each partition of a range ends
	count  int
}

// assign makes the client read the given parts, and tells whether there is
// anything to read.
func (r *reader) assign(parts map[topicPartition]span) bool {
	r.left = make(map[topicPartition]int64)
	assign := make(map[string]map[int32]kgo.Offset)
	for tp, s := range parts {
		if s.to >= 0 {
			if s.from >= s.to {
				continue
			}
			r.left[tp] = s.to
		}
		if assign[tp.topic] == nil {
			assign[tp.topic] = make(map[int32]kgo.Offset)
		}
		assign[tp.topic][tp.partition] = kgo.NewOffset().At(s.from)
	}
	r.cl.AddConsumePartitions(assign)
	return len(assign) > 0
}

func (r *reader) run(ctx context.Context) error {
	for {
		batch := 1000
		if r.max > 0 {
			batch = min(batch, r.max-r.count)
		}
		pollCtx, cancel := ctx, context.CancelFunc(func() {})
		if r.idle > 0 {
			pollCtx, cancel = context.WithTimeout(ctx, r.idle)
		}
		fetches := r.cl.PollRecords(pollCtx, batch)
		timedOut := pollCtx.Err() != nil
		cancel()
		if err := r.fetchError(fetches); err != nil {
			return err
		}
		records := fetches.Records()
		if err := r.print(records); err != nil {
			return err
		}
		if err := r.commit(ctx, records); err != nil {
			return err
		}
		switch {
		case r.max > 0 && r.count >= r.max, r.ranged && len(r.left) == 0:
			return nil
		case ctx.Err() != nil:
			return nil // interrupted: what was printed is committed
		case timedOut && len(records) == 0:
			if r.max > 0 {
				return partialf("only %d of %s came: none for %s", r.count, plural(r.max, "record"), r.idle)
			}
			return nil
		}
	}
}

func (r *reader) fetchError(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var loss *kgo.ErrDataLoss
		switch {
		case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded), errors.As(e.Err, &loss):
			continue // not failures: the wait ended, or old records expired meanwhile
		case errors.Is(e.Err, kerr.InconsistentGroupProtocol):
			return failuref("group %q has members with another protocol, as Comptoir's own services do: choose another group name (%w)", r.group, e.Err)
		case r.group != "" && e.Topic == "":
			return failuref("consume as group %q: %w", r.group, e.Err)
		}
		return failuref("consume %s-%d: %w", e.Topic, e.Partition, e.Err)
	}
	return nil
}

func (r *reader) print(records []*kgo.Record) error {
	for _, rec := range records {
		tp := topicPartition{rec.Topic, rec.Partition}
		end, bounded := r.left[tp]
		if r.ranged && !bounded {
			continue // its range is done
		}
		if bounded && rec.Offset >= end-1 {
			delete(r.left, tp)
			r.cl.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
			if rec.Offset >= end {
				continue
			}
		}
		if rec.Attrs.IsControl() {
			continue
		}
		if err := r.out.write(rec); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		r.count++
	}
	return r.out.flush()
}

// commitTimeout bounds the last commit after an interrupt.
const commitTimeout = 5 * time.Second

func (r *reader) commit(ctx context.Context, records []*kgo.Record) error {
	if r.group == "" || len(records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := r.cl.CommitRecords(ctx, records...); err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", r.group, err)
	}
	return nil
}

// recordPrinter writes records in one format.
type recordPrinter struct {
	w     *bufio.Writer
	write func(*kgo.Record) error
}

func (p recordPrinter) flush() error { return p.w.Flush() }

func (a *app) recordPrinter(format string) (recordPrinter, error) {
	w := bufio.NewWriterSize(a.out, 64<<10)
	p := recordPrinter{w: w}
	switch {
	case format != "" && a.output != "table":
		return p, usagef("give --format or --output, not both")
	case a.output != "table":
		p.write = func(r *kgo.Record) error {
			if a.output == "yaml" {
				if _, err := w.WriteString("---\n"); err != nil {
					return err
				}
			}
			return a.encode(w, toJSONRecord(r))
		}
		return p, nil
	case format == "":
		format = `%v\n`
	}
	f, err := kgo.NewRecordFormatter(format)
	if err != nil {
		return p, usagef("--format %q: %s", format, strings.TrimSpace(err.Error()))
	}
	var buf []byte
	p.write = func(r *kgo.Record) error {
		buf = f.AppendRecord(buf[:0], r)
		_, err := w.Write(buf)
		return err
	}
	return p, nil
}

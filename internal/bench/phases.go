package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bench measures one target.
type bench struct {
	Target
	cfg   Config
	run   string
	name  string // in front of what is said of a floor
	cl    *kgo.Client
	adm   *kadm.Client
	watch *watcher
	notes []string
	// profiles are taken at saturation; nil: none are.
	profiles *profiles
}

func open(ctx context.Context, cfg Config, t Target, run string) (*bench, error) {
	b := &bench{Target: t, cfg: cfg, run: run}
	if t.Prefix != "" {
		b.name = "floor, "
	}
	var err error
	if b.cl, err = t.Kafka.New(); err != nil {
		return nil, err
	}
	b.adm = kadm.NewClient(b.cl)
	if b.watch, err = watch(ctx, b.adm, t); err != nil {
		b.cl.Close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.watch.close()
	b.cl.Close()
}

func (b *bench) progress(line string, args ...any) { b.cfg.Progress(line, args...) }

// note keeps what the report is to say, once.
func (b *bench) note(said string) {
	if said = b.name + said; !slices.Contains(b.notes, said) {
		b.notes = append(b.notes, said)
	}
}

// byHTTP says whether orders go by HTTP. A floor has no API.
func (b *bench) byHTTP() bool { return b.cfg.Settings.Via == ViaHTTP && b.Prefix == "" }

// Of senders.
const (
	// saturationLinger fills the batches of a producer that is in no hurry.
	saturationLinger = 5 * time.Millisecond
	// httpAtOnce is how many requests are under way at saturation.
	httpAtOnce = 64
)

// launch sends n orders of a new series, at a rate or, if it is 0, as fast as
// they are taken, with Settings.InFlight under way at most, and returns when all
// were accepted. Answered, which may be nil, is told how long after its planned
// moment each was.
func (b *bench) launch(ctx context.Context, phase string, rate float64, n int, answered func(i int, after time.Duration)) (*flight, error) {
	f := newFlight(newSeries(b.run, phase, n), n)
	var to sender
	switch {
	case b.byHTTP() && rate > 0:
		to = newHTTPSender(b.API, 0)
	case b.byHTTP():
		to = newHTTPSender(b.API, httpAtOnce)
	default:
		linger := saturationLinger
		if rate > 0 {
			linger = 0
		}
		k, err := newKafkaSender(b.Target, linger)
		if err != nil {
			return nil, err
		}
		if err := k.cl.Ping(ctx); err != nil { // the connection is not part of the first order
			k.close()
			return nil, err
		}
		to = k
	}
	defer to.close()
	if most := b.cfg.Settings.InFlight; most > 0 && rate == 0 {
		f.room = make(chan struct{}, min(most, n))
	}
	f.begin = time.Now()
	b.watch.follow(f)
	send := func(i int, planned time.Time) {
		f.planned[i] = planned.Sub(f.begin)
		key, value := f.order(i)
		var done func()
		if answered != nil {
			done = func() { answered(i, time.Since(planned)) }
		}
		to.send(ctx, key, value, done)
	}
	if rate > 0 {
		if err := openLoop(ctx, f.begin, n, rate, send); err != nil {
			return nil, err
		}
	} else {
		for i := range n {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if f.room != nil {
				if err := f.enter(ctx, b.cfg.Patience); err != nil {
					return nil, errors.Join(to.err(), err) // what could not be sent makes no room
				}
			}
			send(i, time.Now())
		}
	}
	if err := to.wait(ctx); err != nil {
		return nil, fmt.Errorf("send orders: %w", err)
	}
	return f, nil
}

// firstOrders is how many orders of a cold start are told apart.
const firstOrders = 20_000

// saturate sends n orders as fast as they are taken.
func (b *bench) saturate(ctx context.Context, phase string, n int) (*Saturation, error) {
	before, err := b.spent(ctx)
	if err != nil {
		return nil, err
	}
	var profiled *profiling
	if b.profiles != nil {
		profiled = b.profiles.begin(ctx, b.Metrics)
		defer profiled.stop()
	}
	yardstick := newYardstick()
	f, err := b.launch(ctx, phase, 0, n, nil)
	if err == nil {
		err = f.await(ctx, b.cfg.Patience)
	}
	speed := yardstick.end()
	if err != nil {
		return nil, err
	}
	s := &Saturation{Orders: n, PerSecond: float64(n) / f.last.Seconds(), Yardstick: speed}
	if f.room != nil {
		q := quantiles(f.latencies())
		s.Whole = &q
	}
	if f.nth > 0 {
		s.FirstPerSecond = firstOrders / f.nth.Seconds()
	}
	notified, err := b.cpuTime(ctx)
	if err != nil {
		return nil, err
	}
	kernel := b.kernelTime()
	if profiled != nil {
		profiled.end()
	}
	// What follows the notification (tracking, archive, audit) belongs to the cost.
	if err := b.rest(ctx); err != nil {
		return nil, err
	}
	s.RestSeconds = (time.Since(f.begin) - f.last).Seconds()
	after, err := b.spent(ctx)
	if err != nil {
		return nil, err
	}
	s.Cost = after.since(before, n)
	if notified >= 0 && before.cpu >= 0 {
		s.Cost.CPUNotified = (notified - before.cpu) * 1e6 / float64(n)
	}
	if kernel >= 0 && before.kernel >= 0 {
		s.Cost.CPUKernel = (kernel - before.kernel) * 1e6 / float64(n)
	}
	if profiled != nil {
		if err := profiled.wait(); err != nil {
			b.note(fmt.Sprintf("profiles are missing: %v", err))
		}
	}
	return s, nil
}

// latency sends n orders at a rate, open loop.
func (b *bench) latency(ctx context.Context, phase string, rate float64, n int) (*Latency, error) {
	var from map[string]map[int32]kgo.Offset
	var err error
	if b.Prefix == "" {
		if from, err = endsOf(ctx, b.adm, hops...); err != nil {
			return nil, err
		}
	}
	var answered func(int, time.Duration)
	answers := make([]time.Duration, n)
	if b.byHTTP() {
		answered = func(i int, after time.Duration) { answers[i] = after }
	}
	f, err := b.launch(ctx, phase, rate, n, answered)
	if err != nil {
		return nil, err
	}
	if err := f.await(ctx, b.cfg.Patience); err != nil {
		return nil, err
	}
	l := &Latency{Rate: rate, Orders: n, Whole: quantiles(f.latencies())}
	if b.byHTTP() {
		answer := quantiles(answers)
		took := f.latencies()
		for i := range took {
			took[i] = max(0, took[i]-answers[i]) // an answer may be read late
		}
		accepted := quantiles(took)
		l.Answer, l.Accepted = &answer, &accepted
	}
	if from != nil {
		// Only now, so that reading it is no load.
		if l.Hops, err = b.hops(ctx, f, from); err != nil {
			return nil, err
		}
	}
	return l, b.rest(ctx)
}

// kill has a process killed under load.
func (b *bench) kill(ctx context.Context, phase string) (*Kill, error) {
	if b.Kill == nil {
		return nil, errors.New("there is no process to kill")
	}
	killed := make(chan error, 1)
	load := 2 * time.Duration(b.cfg.Settings.Duration)
	timer := time.AfterFunc(load/4, func() {
		b.progress("%skill -9", b.name)
		killed <- b.Kill(ctx)
	})
	n := max(1, int(killRate*load.Seconds()))
	f, err := b.launch(ctx, phase, killRate, n, nil)
	if timer.Stop() {
		killed <- nil // ended before
	}
	if kerr := <-killed; kerr != nil && err == nil {
		err = fmt.Errorf("after the kill: %w", kerr)
	}
	if err != nil {
		return nil, err
	}
	if err := f.await(ctx, b.cfg.Patience); err != nil {
		return nil, err
	}
	k := &Kill{Rate: killRate, Orders: n, LongestWait: slices.Max(f.latencies()).Seconds(), LongestGap: f.gap.Seconds()}
	b.progress("killed at %d orders/s: the longest wait of an order %.2f s", killRate, k.LongestWait)
	if b.Heal != nil {
		if err := b.Heal(ctx); err != nil {
			return nil, fmt.Errorf("after the kill: %w", err)
		}
	}
	return k, b.rest(ctx)
}

// How long the target's groups get, between phases, to come closer to the end than
// ever, and how often they are asked.
const (
	restLimit = 30 * time.Second
	restEvery = 50 * time.Millisecond
)

// rest waits until the target's groups have read all there is. Groups that no
// longer come closer to it, since others use the system too, are noted once.
func (b *bench) rest(ctx context.Context) error {
	deadline := time.Now().Add(restLimit)
	least := int64(math.MaxInt64)
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	for {
		behind, err := b.behind(ctx)
		if err == nil && behind < least {
			least, deadline = behind, time.Now().Add(restLimit)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err == nil && behind == 0:
			return nil
		case time.Now().After(deadline) && err != nil:
			return fmt.Errorf("ask how far the groups are: %w", err)
		case time.Now().After(deadline):
			b.note("not at rest between phases: the system is used by others too, or a group cannot keep up")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// behind is how many records the target's groups with members have not read.
func (b *bench) behind(ctx context.Context) (records int64, err error) {
	listed, err := b.adm.ListGroups(ctx)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, g := range listed.Groups() {
		if b.reads(g) {
			names = append(names, g)
		}
	}
	if len(names) == 0 {
		return 0, nil
	}
	lags, err := b.adm.Lag(ctx, names...)
	if err == nil {
		err = lags.Error()
	}
	if err != nil {
		return 0, err
	}
	for _, g := range lags {
		if len(g.Members) > 0 || g.State == "PreparingRebalance" || g.State == "CompletingRebalance" {
			records += g.Lag.Total()
		}
	}
	return records, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/internal/demo"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

type sendFlags struct {
	n, concurrency int
	rate           float64
	seed           int64
}

func (a *app) orderSendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send demo orders, and say how they were taken",
		Long: `Send demo orders: those of ` + "`up --demo`" + `, again and again under new ids. They need
the demo catalogue to go through, not to be accepted. Four of twenty are
incoherent on purpose: that they are refused is fine.

An order's latency is the time until it was answered, repetitions included. The
same --seed sends the same orders: those that were accepted before count as
known. The exit code is 4 if some orders were not answered as they should.`,
		Example: "  comptoir order send -n 20\n  comptoir order send -n 10000 --rate 500 --concurrency 64",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				f.seed = time.Now().UnixMilli()
			}
			return a.orderSend(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.IntVarP(&f.n, "number", "n", 20, "how many orders")
	fl.Float64Var(&f.rate, "rate", 0, "orders per second; 0 means as fast as they are answered")
	fl.IntVar(&f.concurrency, "concurrency", 8, "how many orders may wait for their answers at a time")
	fl.Int64Var(&f.seed, "seed", 0, "`NUMBER` the ids are made of (default: a new one)")
	return cmd
}

// sendReport is what `order send` says.
type sendReport struct {
	Sent     int `json:"sent"`
	Accepted int `json:"accepted"`
	Known    int `json:"known"`
	Refused  int `json:"refused"`
	Failed   int `json:"failed"`

	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	// Latency is of the orders that were answered as they should, in
	// milliseconds; nil if none was.
	Latency *latencies `json:"latency_ms"`
}

type latencies struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// sent is what became of one order.
type sent struct {
	result sendResult
	took   time.Duration
	err    error
}

type sendResult int

const (
	sendFailed sendResult = iota
	sendAccepted
	sendKnown
	sendRefused
)

func (a *app) orderSend(ctx context.Context, f sendFlags) error {
	switch {
	case f.n < 1 || f.concurrency < 1:
		return usagef("--number and --concurrency are 1 or more")
	case f.concurrency > apiConns:
		return usagef("--concurrency is at most %d", apiConns)
	case f.rate < 0 || math.IsNaN(f.rate):
		return usagef("--rate is 0 or more")
	}
	c, err := a.orderAPI()
	if err != nil {
		return err
	}
	begin := time.Now()
	results, err := c.sendAll(ctx, demo.Orders(f.seed, f.n), f)
	if err != nil {
		return err
	}
	report, errs := reportOf(results, time.Since(begin))
	if err := a.print(report, func(w *tableWriter) { sendTable(w, report) }); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return partialf("interrupted: %d of %s sent, %d without answer", report.Sent, plural(f.n, "order"), report.Failed)
	case len(errs) > 0:
		shown := errs[:min(len(errs), maxShown)]
		if more := len(errs) - len(shown); more > 0 {
			shown = append(slices.Clone(shown), fmt.Errorf("and %d more", more))
		}
		return &exitError{exitCode(outcome(report.Sent, errs)), errors.Join(shown...)}
	}
	return nil
}

// maxShown is how many errors are told one by one.
const maxShown = 10

// sendAll sends orders in their order, several at a time, until all are answered
// or ctx ends: then the rest is not sent. The error says that there is no API.
func (c *apiClient) sendAll(ctx context.Context, orders []demo.Order, f sendFlags) ([]sent, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan demo.Order)
	results := make(chan sent, len(orders))
	var workers sync.WaitGroup
	for range min(f.concurrency, len(orders)) {
		workers.Go(func() {
			for o := range next {
				s := c.send(ctx, o)
				if errors.Is(s.err, errNoAPI) {
					stop(s.err)
				}
				results <- s
			}
		})
	}
	begin := time.Now()
sending:
	for i, o := range orders {
		if f.rate > 0 && !lifecycle.Sleep(ctx, time.Until(begin.Add(time.Duration(float64(i)/f.rate*float64(time.Second))))) {
			break
		}
		select {
		case next <- o:
		case <-ctx.Done():
			break sending
		}
	}
	close(next)
	workers.Wait()
	close(results)
	if err := context.Cause(ctx); errors.Is(err, errNoAPI) {
		return nil, err
	}
	var all []sent
	for s := range results {
		all = append(all, s)
	}
	return all, nil
}

func (c *apiClient) send(ctx context.Context, o demo.Order) sent {
	begin := time.Now()
	// The key is of this request alone: the order's id is what makes it known.
	_, ans, err := c.place(ctx, o.Value, uuid.NewString())
	s := sent{took: time.Since(begin)}
	var p *problem
	switch {
	case err == nil && !o.Coherent:
		s.err = failuref("order %s was accepted, but is incoherent", o.ID)
	case err == nil && ans.known():
		s.result = sendKnown
	case err == nil:
		s.result = sendAccepted
	case !o.Coherent && errors.As(err, &p) && p.status == http.StatusUnprocessableEntity:
		s.result = sendRefused
	default:
		s.err = fmt.Errorf("order %s: %w", o.ID, err)
	}
	return s
}

func reportOf(results []sent, took time.Duration) (r sendReport, errs []error) {
	var times []time.Duration
	for _, s := range results {
		r.Sent++
		switch s.result {
		case sendAccepted:
			r.Accepted++
		case sendKnown:
			r.Known++
		case sendRefused:
			r.Refused++
		default:
			r.Failed++
			errs = append(errs, s.err)
			continue
		}
		times = append(times, s.took)
	}
	r.Seconds = math.Round(took.Seconds()*1000) / 1000
	if s := took.Seconds(); s > 0 {
		r.PerSecond = math.Round(float64(r.Sent)/s*10) / 10
	}
	if n := len(times); n > 0 {
		slices.Sort(times)
		r.Latency = &latencies{P50: rankOf(times, 50), P95: rankOf(times, 95), P99: rankOf(times, 99), Max: rankOf(times, 100)}
	}
	return r, errs
}

// rankOf is the nearest rank of sorted times, in milliseconds.
func rankOf(sorted []time.Duration, percent int) float64 {
	d := sorted[(len(sorted)*percent+99)/100-1]
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func sendTable(w *tableWriter, r sendReport) {
	w.row("SENT", "ACCEPTED", "KNOWN", "REFUSED", "FAILED")
	w.row(r.Sent, r.Accepted, r.Known, r.Refused, r.Failed)
	w.line("%.2f s, %.1f orders/s", r.Seconds, r.PerSecond)
	if l := r.Latency; l != nil {
		ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
		w.line("latency: p50 %s ms, p95 %s ms, p99 %s ms, max %s ms", ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Max))
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// streamSilence is how long a stream may say nothing: the API sends a sign of
	// life each 15 s.
	streamSilence = 45 * time.Second
	// streamPause is the time before a broken stream is opened again.
	streamPause = 200 * time.Millisecond
)

func (a *app) orderFollowCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "follow ID",
		Short: "Show an order's timeline, live, until its end",
		Long: `Show every record of an order as it comes: what it means, the time since the
order, the time since the order's record before it, and where it stands. It ends
when the order has: confirmed and notified, or refused; the exit code is 0 then.
It is 4 if the order is still on its way at --timeout or an interrupt.

Records of different topics may come in another order than they were written:
the times say which was first. -o json writes what the API sends, one object per
line, the last one with the final state.`,
		Example:           "  comptoir order follow 991\n  comptoir order follow 991 --timeout 10s -o json",
		Args:              exactly("ID"),
		ValidArgsFunction: complete(1, a.orderIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usagef("--timeout is 0 or more")
			}
			if err := checkIDs("the order's id", args...); err != nil {
				return err
			}
			return a.orderFollow(cmd.Context(), args[0], timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "end after so long; 0 means never")
	return cmd
}

func (a *app) orderFollow(ctx context.Context, id string, timeout time.Duration) error {
	c, err := a.orderAPI()
	if err != nil {
		return err
	}
	limited := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	f := &follower{api: c, id: id, show: a.timelineView(), seen: map[position]bool{}}
	err = f.run(limited)
	switch {
	case err == nil || limited.Err() == nil:
		return err
	case ctx.Err() != nil:
		return partialf("interrupted: order %s is %s", id, f.last())
	}
	return partialf("after %s order %s is %s", timeout, id, f.last())
}

// timelineView is how a timeline is written.
type timelineView interface {
	record(r *timelineRecord, raw json.RawMessage) error
	end(o *order, raw json.RawMessage) error
}

// position is where a record stands.
type position struct {
	topic     string
	partition int32
	offset    int64
}

// follower reads one order's stream, again and again until its end.
type follower struct {
	api  *apiClient
	id   string
	show timelineView

	lastID string // of the events
	seen   map[position]bool
	step   string // the last one shown
	over   bool
}

// last says how far the order has come, for an error.
func (f *follower) last() string {
	if f.step == "" {
		return "not heard of"
	}
	return "still on its way, last seen: " + f.step
}

// run shows the order until its end. A stream that breaks is opened again, and
// goes on behind the last event.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.stream(ctx)
		var lost *passing
		switch {
		case f.over || ctx.Err() != nil, err != nil && !errors.As(err, &lost):
			return err
		}
		if !lifecycle.Sleep(ctx, streamPause) {
			return ctx.Err()
		}
	}
}

// stream opens the stream and shows what it brings. A *passing error says that
// it broke.
func (f *follower) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.lastID != "" {
		header["Last-Event-Id"] = []string{f.lastID}
	}
	var res *http.Response
	err := f.api.repeat(ctx, func() (err error) {
		res, err = f.api.attempt(ctx, apiRequest{method: http.MethodGet, path: orderPath(f.id, "evenements"), header: header})
		return err
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return failuref("%s does not answer as the order API does: no event stream, but %q", f.api.base, res.Header.Get("Content-Type"))
	}
	silence := time.AfterFunc(streamSilence, cancel)
	defer silence.Stop()
	events := newEventReader(alive{res.Body, silence})
	for {
		ev, err := events.next()
		switch {
		case errors.Is(err, errEventTooLong):
			return err
		case err != nil:
			return &passing{err: err}
		}
		if ev.id != "" {
			f.lastID = ev.id
		}
		if err := f.take(ctx, ev); err != nil || f.over {
			return err
		}
	}
}

// alive puts the end of patience off with everything that is read.
type alive struct {
	r io.Reader
	t *time.Timer
}

func (a alive) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.t.Reset(streamSilence)
	return n, err
}

// take shows one event. Names that are not known are left alone.
func (f *follower) take(ctx context.Context, ev serverEvent) error {
	switch ev.name {
	case "evenement":
		r := &timelineRecord{}
		if err := f.api.decode(apiAnswer{body: ev.data}, r); err != nil {
			return err
		}
		at := position{r.Topic, r.Partition, r.Offset}
		if f.seen[at] {
			return nil
		}
		f.seen[at] = true
		f.step = stepOf(r).name
		return f.show.record(r, ev.data)
	case "fin":
		var o order
		if err := f.api.decode(apiAnswer{body: ev.data}, &o); err != nil {
			return err
		}
		f.over = true
		return f.show.end(&o, ev.data)
	}
	return nil
}

// timelineView chooses by -o.
func (a *app) timelineView() timelineView {
	if a.output != "table" {
		return objectView{a}
	}
	v := &lineView{out: a.out}
	if is, width, _ := a.terminal(); is {
		v.terminal, v.width, v.colour = true, width, a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
	}
	return v
}

// objectView writes what the API sends.
type objectView struct{ a *app }

func (v objectView) record(_ *timelineRecord, raw json.RawMessage) error { return v.write(raw) }
func (v objectView) end(_ *order, raw json.RawMessage) error             { return v.write(raw) }

func (v objectView) write(raw json.RawMessage) error {
	if v.a.output == "yaml" {
		if _, err := io.WriteString(v.a.out, "---\n"); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return v.a.encode(v.a.out, raw)
}

// lineView writes a line per record: on a terminal with a head, in colours and
// cut to its width.
type lineView struct {
	out              io.Writer
	terminal, colour bool
	width            int

	begun  time.Time // the order's record, or the first one before that is known
	order  bool      // begun is the order's record
	latest time.Time
	headed bool
}

const timelineColumns = "%-18s  %10s  %9s  %-30s  %s"

func (v *lineView) record(r *timelineRecord, _ json.RawMessage) error {
	isOrder := r.Topic == event.TopicOrders
	if v.begun.IsZero() || !v.order && (isOrder || r.Time.Before(v.begun)) {
		v.begun, v.order = r.Time, isOrder
	}
	if r.Time.After(v.latest) {
		v.latest = r.Time
	}
	if v.terminal && !v.headed {
		v.headed = true
		if err := v.line(fmt.Sprintf(timelineColumns, "STEP", "SINCE", "WAIT", "RECORD", "WHAT IT SAYS"), "2"); err != nil {
			return err
		}
	}
	s := stepOf(r)
	since := "+" + shortly(r.Time.Sub(v.begun))
	if r.Time.Before(v.begun) {
		since = "-" + shortly(v.begun.Sub(r.Time))
	}
	return v.line(fmt.Sprintf(timelineColumns, s.name, since, shortly(time.Duration(r.WaitMS)*time.Millisecond),
		fmt.Sprintf("%s %d/%d", r.Topic, r.Partition, r.Offset), s.detail), [...]string{neutral: "", good: "32", warned: "33", bad: "31"}[s.mood])
}

func (v *lineView) end(o *order, _ json.RawMessage) error {
	text := fmt.Sprintf("order %s ended as %s", o.ID, o.State)
	if o.Reason != "" {
		text += " (" + o.Reason + ")"
	}
	if !v.begun.IsZero() {
		text += ", " + shortly(v.latest.Sub(v.begun)) + " after it was received"
	}
	style := "31"
	if o.State == "NOTIFIEE" {
		style = "32"
	}
	return v.line(text, style)
}

func (v *lineView) line(text, style string) error {
	text = strings.TrimRight(cleanCell(text), " ")
	if v.terminal && v.width > 0 && utf8.RuneCountInString(text) > v.width {
		text = string([]rune(text)[:v.width-1]) + "…"
	}
	if v.colour && style != "" {
		text = "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	if _, err := io.WriteString(v.out, text+"\n"); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// shortly writes a duration in at most 8 columns or so: 12 ms, 3.5 s, 2h5m0s.
func shortly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

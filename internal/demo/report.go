package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

func (p *painter) title(b *board) {
	way := "into " + event.TopicOrders
	if n := b.byHTTP(); n > 0 {
		way = fmt.Sprintf("%s, %d of them by HTTP", way, n)
	}
	p.print([]cell{{fmt.Sprintf("%s %s, ids %s-01 to -%02d", plural(len(b.orders), "order"), way, b.series, len(b.orders)), 0, bold}})
}

func (p *painter) note(text string) { p.print([]cell{{text, 0, yellow}}) }

// timeline shows the records of one order by the time at which they were
// written; of those written in the same millisecond in the order of the flow.
func (p *painter) timeline(o *progress) {
	hops := slices.Clone(o.hops)
	slices.SortStableFunc(hops, func(a, b hop) int {
		if c := a.written.Compare(b.written); c != 0 {
			return c
		}
		return rank(a) - rank(b)
	})
	out := [][]cell{
		nil,
		{{fmt.Sprintf("One order, hop by hop: %s, %s, %s", o.id, o.client, o.amount), 0, bold}},
		{{"topic", 22, dim}, {"p/offset", 9, dim}, {"written", -8, dim}, {"read", -8, dim}, {"", 1, ""}, {"what it says", 0, dim}},
	}
	for _, h := range hops {
		out = append(out, []cell{
			{h.topic, 22, ""}, {fmt.Sprintf("%d/%d", h.partition, h.offset), 9, ""},
			{since(h.written, o), -8, ""}, {since(h.read, o), -8, ""}, {"", 1, ""}, {h.says, 0, ""},
		})
	}
	out = append(out, []cell{{"written: the record's timestamp; read: when a reader of committed records had it", 0, dim}})
	p.print(out...)
}

// rank is the place of a record's kind in the flow. A reservation comes before
// the verdict, the other movements after what causes them.
func rank(h hop) int {
	switch {
	case h.kind == moved && strings.HasPrefix(h.says, "RESERVATION"):
		return int(ordered)*2 + 1
	case h.kind == moved:
		return int(counted) * 2
	case h.kind == flagged:
		return int(ordered)*2 + 1
	}
	return int(h.kind) * 2
}

func (p *painter) summary(b *board, s Summary) {
	records := len(b.sends())
	out := [][]cell{
		nil,
		{{"Summary", 0, bold}},
		{{fmt.Sprintf("%s in %s: one was sent twice and counts once", plural(len(b.orders), "order"), plural(records, "record")), 0, ""}},
		{{"promised", -10, dim}, {"ended", -6, dim}},
	}
	for _, e := range endings {
		promised, ended, kept := s.count(e.state)
		out = append(out, []cell{{fmt.Sprint(promised), -10, ""}, {fmt.Sprint(ended), -6, ""}, mark(kept == promised && ended == promised), {e.means, 0, ""}})
	}
	if open := len(b.orders) - s.ended(); open > 0 {
		out = append(out, []cell{{"0", -10, ""}, {fmt.Sprint(open), -6, ""}, mark(false), {"still on their way", 0, ""}})
	}
	if n := len(s.Latencies); n > 0 {
		out = append(out, []cell{{fmt.Sprintf("latency, order to notification: p50 %s, p95 %s, max %s (%d orders)",
			ms(percentile(s.Latencies, 50)), ms(percentile(s.Latencies, 95)), ms(s.Latencies[n-1]), n), 0, ""}})
	}
	if p.archive {
		out = append(out, []cell{mark(s.Archived == len(s.Invoices)), {fmt.Sprintf("archive: %s for %s",
			plural(s.Archived, "row"), plural(len(s.Invoices), "invoice")), 0, ""}})
	}
	for _, l := range s.Lags {
		text := fmt.Sprintf("lag %d", l.Lag)
		if l.Err != nil {
			text = "lag not known"
		}
		out = append(out, []cell{mark(l.Err == nil && l.Lag == 0), {l.Group, 22, ""}, {text, 0, ""}})
	}
	for _, text := range s.Missing {
		out = append(out, []cell{{"not at rest: " + text, 0, yellow}})
	}
	for _, o := range b.orders {
		if text := shortfall(o); text != "" {
			out = append(out, []cell{{"✗ " + string(o.id) + " " + text, 0, red}})
		}
	}
	p.print(append(out, nil)...)
}

func mark(ok bool) cell {
	if ok {
		return cell{"✓", 1, green}
	}
	return cell{"✗", 1, red}
}

// ms writes a duration in milliseconds, with a decimal below 10.
func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

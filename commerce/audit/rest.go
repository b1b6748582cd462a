package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// mark is a record that a group has not read.
type mark struct {
	part
	offset int64
}

// mark has the time of the first record at or behind m noted.
func (in *reading) mark(m mark) {
	if in.marks[m] == nil {
		in.marks[m] = &time.Time{}
		in.at[m.part] = append(in.at[m.part], m)
	}
}

func (in *reading) noteMarks(r *Record, p part) {
	for _, m := range in.at[p] {
		if t := in.marks[m]; r.Offset >= m.offset && t.IsZero() {
			*t = in.base(r)
		}
	}
}

// pending judges what waits: messages in the outbox, records before their
// groups.
func (e *engine) pending(ctx context.Context, lags []lag, marks map[mark]*time.Time) error {
	var st status
	waits := make(map[lag]time.Time, len(lags))
	for _, l := range lags {
		e.s.meta.tally.checked[groupLag]++
		if l.committed >= l.end {
			continue
		}
		p := place{topicIndex(l.topic), l.partition, max(l.committed, 0)}
		since := e.clock.now
		if t := marks[mark{part{p.topic, p.partition}, p.offset}]; t != nil && !t.IsZero() {
			since = *t
		}
		end := l.end
		l.end = 0 // it waits as long as it has not moved
		if before, ok := e.waits[l]; ok && before.Before(since) {
			since = before
		}
		waits[l] = since
		st.missing(&e.clock, since, groupLag, p, "group %s stands at %d of %d in %s[%d]", l.group, l.committed, end, l.topic, l.partition)
	}
	e.waits = waits
	if e.cfg.Database != nil {
		n, oldest, err := e.cfg.Database.Pending(ctx)
		if err != nil {
			return err
		}
		e.s.meta.tally.checked[outboxSent] += n
		if n > 0 {
			st.missing(&e.clock, oldest, outboxSent, place{}, "%d messages wait in the outbox", n)
		}
	}
	return e.s.put(key{keyRest}, &st)
}

// looks is how many times in a row nothing must have changed for rest, pause the
// time between two.
const (
	looks = 3
	pause = 200 * time.Millisecond
)

// rest waits until all is at rest, or Config.Wait has passed.
func (e *engine) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Wait, errWaited)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	last, same := "", 0
	for {
		now, open, err := e.look(ctx)
		if err == nil && open == 0 && now == last {
			same++
		} else {
			same = 0
		}
		if last = now; same >= looks {
			return nil
		}
		e.progress("wait", 0, open)
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errWaited) {
				return nil
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

var errWaited = errors.New("waited long enough")

// look describes where everything stands, and counts what is not done.
func (e *engine) look(ctx context.Context) (now string, open int64, err error) {
	lags, err := e.src.lags(ctx)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	for _, l := range lags {
		fmt.Fprintln(&b, l)
		open += max(0, l.end-max(l.committed, 0))
	}
	if e.cfg.Database != nil {
		n, _, err := e.cfg.Database.Pending(ctx)
		if err != nil {
			return "", 0, err
		}
		open += n
	}
	return b.String(), open, nil
}

// ours says whether a consumer group belongs to the pipeline.
func ours(group string) bool {
	return strings.HasPrefix(group, "service-") || strings.HasPrefix(group, "connect-") || group == "detection-anomalies"
}

// must is what the services must have read of the public topics, also before
// they have committed anything.
var must = map[string][]string{
	"detection-anomalies":  {event.TopicOrders},
	"service-stock":        {event.TopicOrders, event.TopicRefused, event.TopicConfirmations, event.TopicSupplies},
	"service-paiement":     {event.TopicVerdicts},
	"service-facturation":  {event.TopicVerdicts, event.TopicAccepted},
	"service-notification": {event.TopicInvoices, event.TopicVerdicts, event.TopicRefused},
}

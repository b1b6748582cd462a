package api

import (
	"cmp"
	"context"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

const (
	// maxStreams bounds the open streams of a process.
	maxStreams = 1000
	// streamWrite is how long a client may take to read what one write holds.
	streamWrite = 30 * time.Second
	// streamRetry is when a stream asks a database again that did not answer.
	streamRetry = time.Second
)

const mediaEvents = "text/event-stream"

// prefersEvents says whether the client names event streams and likes nothing
// better: JSON is what it gets otherwise, and where it likes neither.
func prefersEvents(r *http.Request) bool {
	// Of two ranges that JSON is in, the more exact one counts.
	events, json, exactness := 0.0, 0.0, 0
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		mediaType, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if given, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(given, 64); err != nil || !(q >= 0 && q <= 1) {
				q = 1
			}
		}
		if mediaType == mediaEvents {
			events = q
		}
		if i := 1 + slices.Index([]string{"*/*", "application/*", mediaJSON}, mediaType); i > exactness {
			json, exactness = q, i
		}
	}
	return events > 0 && events >= json
}

// place is a partition of a topic by the topic's place in event.Topics.
type place struct {
	topic     int
	partition int32
}

// cursor is what a stream has sent: the last offset of each partition. An
// order's records are indexed in the order of their partition's offsets, but
// those of different partitions in any order.
type cursor map[place]int64

const errEventID = "header Last-Event-ID must be the id of an event of this stream"

// parseCursor reads the id of an event: topic.partition.offset, joined by "_".
func parseCursor(s string) (cursor, error) {
	c := cursor{}
	if s == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(s, "_") {
		f := strings.Split(part, ".")
		if len(f) != 3 {
			return nil, badRequest(errEventID)
		}
		topic, err1 := strconv.ParseUint(f[0], 10, 16)
		partition, err2 := strconv.ParseUint(f[1], 10, 31)
		offset, err3 := strconv.ParseUint(f[2], 10, 63)
		if err1 != nil || err2 != nil || err3 != nil || topic >= uint64(len(event.Topics)) {
			return nil, badRequest(errEventID)
		}
		c[place{int(topic), int32(partition)}] = int64(offset)
	}
	return c, nil
}

func (c cursor) append(b []byte) []byte {
	places := make([]place, 0, len(c))
	for p := range c {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.topic != b.topic {
			return a.topic - b.topic
		}
		return int(a.partition - b.partition)
	})
	for i, p := range places {
		if i > 0 {
			b = append(b, '_')
		}
		b = strconv.AppendInt(b, int64(p.topic), 10)
		b = strconv.AppendInt(append(b, '.'), int64(p.partition), 10)
		b = strconv.AppendInt(append(b, '.'), c[p], 10)
	}
	return b
}

// placeOf returns where an entry stands in a cursor; -1 for a topic that is not
// of the contract, of which the index has none.
func placeOf(e orderdb.Entry) place {
	return place{slices.IndexFunc(event.Topics, func(s event.Spec) bool { return s.Name == e.Topic }), e.Partition}
}

func (c cursor) has(e orderdb.Entry) bool {
	offset, ok := c[placeOf(e)]
	return ok && e.Offset <= offset
}

func (c cursor) add(e orderdb.Entry) { c[placeOf(e)] = e.Offset }

// stream answers with server-sent events: one "evenement" for each record, in
// the order in which they become known, and "fin" at a final state.
func (a *API) stream(w http.ResponseWriter, r *http.Request, id event.ID) error {
	sent, err := parseCursor(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	o, err := a.order(r.Context(), id)
	if err != nil {
		return err
	}
	if !a.begin() {
		return unavailable("the server is stopping")
	}
	defer a.open.Done()
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return unavailable("too many event streams are open")
	}
	defer a.streams.Add(-1)
	sub, ok := a.watcher.subscribe(id, o.Changes, math.MaxInt)
	if !ok {
		return unavailable("the server is stopping")
	}
	defer sub.end()
	a.metrics.streams.Inc()
	defer a.metrics.streams.Dec()

	h := w.Header()
	h.Set("Content-Type", mediaEvents)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // for reverse proxies that would gather
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	s := streaming{api: a, w: w, rc: http.NewResponseController(w), order: o, sent: sent}
	if s.write([]byte("retry: 1000\n\n")) == nil {
		s.follow(r.Context(), sub)
	}
	return nil
}

// streaming is one open stream.
type streaming struct {
	api      *API
	w        http.ResponseWriter
	rc       *http.ResponseController
	order    orderdb.Order
	sent     cursor
	notified bool      // the customer's notification was sent
	final    time.Time // since when the state is final, zero if it is not
	changed  time.Time // when something new was seen
}

// follow sends what comes until the order's end, ours, or the client's.
func (s *streaming) follow(ctx context.Context, sub *subscription) {
	heartbeat := time.NewTicker(s.api.times.heartbeat)
	defer heartbeat.Stop()
	next := time.NewTimer(0) // a look without a sign of change
	defer next.Stop()
	for {
		look := true
		select {
		case <-next.C:
		case <-sub.changed:
		case <-heartbeat.C:
			look = false
		case <-s.api.stopping:
			return
		case <-ctx.Done():
			return
		}
		if !look {
			if s.write([]byte(": \n\n")) != nil {
				return
			}
			continue
		}
		ok, err := s.look(ctx)
		switch {
		case err != nil:
			return // the client is gone
		case !ok:
			next.Reset(streamRetry)
			continue
		}
		if left, final := s.left(time.Now()); final && left <= 0 {
			s.end()
			return
		} else if final {
			next.Reset(left)
		}
	}
}

// look reads the order and sends what is new of it. ok is false if database or
// Kafka did not answer; the error is the client's.
func (s *streaming) look(ctx context.Context) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	// The state before the records: a state that is shown has its records.
	o, err := s.api.order(ctx, s.order.ID)
	if err != nil {
		return false, nil
	}
	entries, err := s.api.cfg.DB.Timeline(ctx, o.ID)
	if err != nil {
		return false, nil
	}
	if o.Changes != s.order.Changes || s.changed.IsZero() {
		s.changed = time.Now()
	}
	s.order = o
	if !o.State.Final() {
		s.final = time.Time{}
	} else if s.final.IsZero() {
		s.final = time.Now()
	}
	return true, s.send(ctx, entries)
}

// send sends the entries that were not sent yet.
func (s *streaming) send(ctx context.Context, entries []orderdb.Entry) error {
	var fresh []int
	for i, e := range entries {
		s.notified = s.notified || e.Topic == event.TopicNotifications
		if !s.sent.has(e) {
			fresh = append(fresh, i)
		}
	}
	byOffset(entries, fresh)
	for part := range slices.Chunk(fresh, payloadBatch) {
		batch := make([]orderdb.Entry, len(part))
		for i, at := range part {
			batch[i] = entries[at]
		}
		payloads := s.api.fetch(ctx, batch)
		var b []byte
		for i, at := range part {
			s.sent.add(entries[at])
			p, lacks := payload(payloads, i)
			b = s.head(b, "evenement")
			start := len(b)
			b = appendEvent(b, entries[at], waited(entries, at), p)
			if lacks != "" {
				b = event.AppendString(append(b, `,"avertissement":`...), lacks)
			}
			oneLine(b[start:])
			b = append(b, "}\n\n"...)
		}
		if err := s.write(b); err != nil {
			return err
		}
	}
	return nil
}

// byOffset sorts those of a partition among themselves. Record times need not
// rise with offsets, but a cursor, which a client may come back with after any
// event, knows only the last offset.
func byOffset(entries []orderdb.Entry, fresh []int) {
	of := map[place][]int{}
	for _, i := range fresh {
		p := placeOf(entries[i])
		of[p] = append(of[p], i)
	}
	for _, list := range of {
		slices.SortFunc(list, func(a, b int) int { return cmp.Compare(entries[a].Offset, entries[b].Offset) })
	}
	for at, i := range fresh {
		p := placeOf(entries[i])
		fresh[at], of[p] = of[p][0], of[p][1:]
	}
}

// head begins an event up to its data.
func (s *streaming) head(b []byte, name string) []byte {
	b = append(append(b, "event: "...), name...)
	b = s.sent.append(append(b, "\nid: "...))
	return append(b, "\ndata: "...)
}

// oneLine makes line ends blanks: in JSON they can only stand between tokens.
func oneLine(b []byte) {
	for i, c := range b {
		if c == '\r' || c == '\n' {
			b[i] = ' '
		}
	}
}

// left says how long an order in a final state is still followed: until the
// customer's notification and what is written at the same time were seen, but
// not longer than times.linger after its last change. Nobody is notified of an
// order that was incoherent or in conflict.
func (s *streaming) left(now time.Time) (left time.Duration, final bool) {
	if s.final.IsZero() {
		return 0, false
	}
	t := s.api.times
	left = min(s.final.Add(t.linger).Sub(now), s.order.Updated.Add(t.linger).Sub(now))
	switch {
	case s.order.State == orderdb.Rejected, s.order.State == orderdb.InConflict:
		return 0, true
	case s.notified:
		left = min(left, s.changed.Add(t.quiet).Sub(now))
	}
	return left, true
}

// end sends the last event.
func (s *streaming) end() {
	b := s.head(nil, "fin")
	b = s.order.ID.AppendJSON(append(b, `{"commandeId":`...))
	b = event.AppendString(append(b, `,"statut":`...), s.order.State.String())
	if s.order.Reason != "" {
		b = event.AppendString(append(b, `,"motif":`...), s.order.Reason)
	}
	_ = s.write(append(b, "}\n\n"...)) // the client is gone: nobody to tell
}

// write sends b at once.
func (s *streaming) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

package orderdb

import (
	"bytes"
	"slices"
	"strings"

	"github.com/comptoir/comptoir/commerce/event"
)

// record is an order while a transaction works on it: the rules by which
// requests and records change it, the same for every database.
//
// What is shown is a function of what was seen, whatever the order in which it
// was seen: topics and partitions are read at different speeds.
type record struct {
	number int64
	id     event.ID
	stored bool // in the database already
	// savedState and savedClient are those in the database.
	savedState  State
	savedClient event.ID

	// contents are those with which the id was seen. digest, refused, client and
	// at are of the one that counts, if chosen says that there is one.
	contents []content
	complete bool // contents are all there are
	chosen   bool
	digest   [16]byte
	refused  bool
	client   event.ID // without a content: of any record that tells it
	at       int64

	evidence State // the highest from Reserved on
	rejected bool
	// reason is of the highest refusal that gave one.
	reason   string
	reasonOf State
	invoice  string
	alerts   alerts
	updated  int64 // of records that speak of neither a content nor a rejection
	changes  int64

	// What this transaction adds.
	verdict []byte
	entries []entry
}

// content is one content of an order id.
type content struct {
	digest  [16]byte
	client  event.ID
	at      int64
	refused bool   // lost the id to another
	valued  bool   // its value is known
	changed bool   // to be written
	value   []byte // only if it is to be written
}

// state is what is shown.
func (r *record) state() State {
	switch {
	case r.evidence >= Reserved:
		return r.evidence
	case r.chosen && !r.refused:
		return Received
	case r.chosen:
		return InConflict
	case r.rejected:
		return Rejected
	}
	return Unknown
}

// saved notes that the database has the record as it stands.
func (r *record) saved() {
	if !r.stored {
		r.stored, r.complete = true, true
	}
	r.savedState, r.savedClient = r.state(), r.client
	for i := range r.contents {
		r.contents[i].changed, r.contents[i].value = false, nil
	}
	r.verdict, r.entries = nil, nil
}

// accept decides on an order accepted by HTTP. Where only later records of the
// id were seen its content is not known yet: whether it is the same is for
// service-stock to say, which ignores what it has.
func (r *record) accept(o *NewOrder, at int64) Result {
	switch {
	case !r.chosen:
		r.learn(&Content{Digest: o.Digest, Client: o.Client, Value: o.Value, At: millis(at)})
		r.choose()
		r.changes++
		return Created
	case r.digest == o.Digest && !r.refused:
		return Same
	}
	return Conflict
}

// apply takes what a record says. ids gives the numbers of topics.
func (r *record) apply(c *OrderChange, ids map[string]int64) {
	at := r.index(&c.Entry, ids)
	for i := range c.More {
		r.index(&c.More[i], ids)
	}
	if c.Content != nil && (c.State == Received || c.State == InConflict) {
		k := r.learn(c.Content)
		if c.State == InConflict && !k.refused {
			k.refused, k.changed = true, true
		}
		r.choose()
		if len(c.Content.Value) > event.MaxErrorRecord/2 {
			r.alerts.place(c.Content.Digest, c.Entry)
		}
	}
	switch {
	case c.State >= Reserved:
		r.evidence = max(r.evidence, c.State)
	case c.State == Rejected:
		r.rejected = true
	}
	if c.Verdict != nil {
		r.verdict = c.Verdict
	}
	// Of several that differ the first by spelling, so that the order of arrival
	// does not matter.
	if c.Client != "" && !r.chosen && (r.client == "" || c.Client < r.client) {
		r.client = own(c.Client)
	}
	if reason := clean(c.Reason); reason != "" {
		if c.State > r.reasonOf || r.reason == "" || c.State == r.reasonOf && reason < r.reason {
			r.reason, r.reasonOf = reason, c.State
		}
	}
	if c.Invoice != "" {
		r.invoice = clean(c.Invoice)
	}
	for _, code := range c.Alerts {
		r.alerts.add(c.Accused, c.Origin, clean(code), at)
	}
}

// index adds an entry to the timeline, and returns its time.
func (r *record) index(e *Entry, ids map[string]int64) (at int64) {
	at = toMillis(e.Time)
	r.entries = append(r.entries, entry{at, ids[e.Topic], e.Partition, e.Offset})
	r.changes++
	if e.Topic != event.TopicOrders && e.Topic != event.TopicErrors {
		r.updated = max(r.updated, at)
	}
	return at
}

func (r *record) applyAll(changes []*OrderChange, ids map[string]int64) {
	for _, c := range changes {
		r.apply(c, ids)
	}
}

// learn finds or adds a content.
func (r *record) learn(c *Content) *content {
	for i := range r.contents {
		k := &r.contents[i]
		if k.digest == c.Digest {
			if !k.valued && c.Value != nil {
				k.value, k.valued, k.changed = c.Value, true, true
			}
			return k
		}
	}
	r.contents = append(r.contents, content{digest: c.Digest, client: own(c.Client), at: toMillis(c.At),
		value: c.Value, valued: c.Value != nil, changed: true})
	return &r.contents[len(r.contents)-1]
}

// choose says which content counts: it remains unless it is refused and another
// is not; then the earliest of those.
func (r *record) choose() {
	var best *content
	for i := range r.contents {
		k := &r.contents[i]
		switch {
		case best == nil:
			best = k
		case k.refused != best.refused:
			if best.refused {
				best = k
			}
		case r.chosen && k.digest == r.digest:
			best = k
		case r.chosen && best.digest == r.digest:
		case k.at < best.at, k.at == best.at && bytes.Compare(k.digest[:], best.digest[:]) < 0:
			best = k
		}
	}
	if best == nil {
		return
	}
	r.chosen, r.digest, r.refused, r.at = true, best.digest, best.refused, best.at
	if best.client != "" {
		r.client = best.client
	}
}

// clean makes text of outside records fit for every database, and its own: it
// must not keep the record's whole value in memory.
func clean(s string) string {
	return strings.Clone(strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", ""))
}

// own is an id that does not keep the record's whole value in memory.
func own(id event.ID) event.ID { return event.ID(strings.Clone(string(id))) }

// shownReason is the reason, if it is that of the state.
func shownReason(reason string, of, state State) string {
	if of != state {
		return ""
	}
	return reason
}

// needsContents says whether the contents of the id matter to a change.
func needsContents(changes []*OrderChange) bool {
	return slices.ContainsFunc(changes, func(c *OrderChange) bool { return c.Content != nil })
}

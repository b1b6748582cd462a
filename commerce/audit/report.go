package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxKept is how many violations of an invariant a report holds; all are
// counted.
const MaxKept = 100

// Report is what was found in all that was read so far.
type Report struct {
	// At is the time up to which was read, Took how long the last round took.
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took_ns"`
	// Records is the number of records read, of all topics and rounds.
	Records int64 `json:"records"`
	// Violations and InFlight are totals: what is wrong, and what is missing
	// but younger than the limit.
	Violations int64 `json:"violations"`
	InFlight   int64 `json:"in_flight"`
	// Notes say what else a reader must know, as a history that was cut off.
	Notes      []string `json:"notes,omitempty"`
	Invariants []Result `json:"invariants"`
}

// Result is what was found about one invariant.
type Result struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	// Checked counts the records (rows, orders) that were looked at for it.
	Checked    int64 `json:"checked"`
	Violations int64 `json:"violations"`
	// NotChecked says why it was not checked, if it was not.
	NotChecked string `json:"not_checked,omitempty"`
	// First are the violations by place, at most MaxKept.
	First []Violation `json:"first,omitempty"`
}

// Violation is one thing that should not be.
type Violation struct {
	// Topic, Partition and Offset are where it shows; Topic is empty if it is
	// not about a record.
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Detail    string `json:"detail"`
}

func (v Violation) String() string {
	if v.Topic == "" {
		return v.Detail
	}
	return fmt.Sprintf("%s[%d]@%d: %s", v.Topic, v.Partition, v.Offset, v.Detail)
}

// Only keeps the invariants with these ids, and counts anew; none keeps all.
func (r Report) Only(ids []string) Report {
	if len(ids) == 0 {
		return r
	}
	r.Invariants = slices.DeleteFunc(slices.Clone(r.Invariants), func(i Result) bool { return !slices.Contains(ids, i.ID) })
	r.Violations = 0
	for _, i := range r.Invariants {
		r.Violations += i.Violations
	}
	return r
}

// tally is what is counted as facts come and groups are judged.
type tally struct {
	records    int64
	checked    [invariants]int64
	violations [invariants]int64
	inFlight   int64
}

// status is the judgement on one group: what is wrong with it, and until when
// what is missing may come.
type status struct {
	inFlight int64
	until    time.Time // the earliest end of waiting; zero if nothing is in flight
	found    []finding
}

// finding is what violates one invariant in a group: how often, and the first.
type finding struct {
	inv   inv
	count int64
	first []Violation
}

func (st *status) clean() bool { return st.inFlight == 0 && len(st.found) == 0 }

func (st *status) violate(i inv, at place, format string, args ...any) {
	var f *finding
	for k := range st.found {
		if st.found[k].inv == i {
			f = &st.found[k]
		}
	}
	if f == nil {
		st.found = append(st.found, finding{inv: i})
		f = &st.found[len(st.found)-1]
	}
	if f.count++; len(f.first) < MaxKept {
		detail := strings.ToValidUTF8(fmt.Sprintf(format, args...), "\uFFFD")
		if len(detail) > maxDetail {
			detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
		}
		f.first = append(f.first, Violation{Topic: topicNames[at.topic], Partition: at.partition, Offset: at.offset, Detail: detail})
	}
}

// maxDetail bounds the text of a violation, in bytes.
const maxDetail = 500

// missing says that something that follows from what happened at since is not
// there: it is in flight until the limit has passed, then a violation.
func (st *status) missing(c *clock, since time.Time, i inv, at place, format string, args ...any) {
	since = later(since, c.from)
	if until := since.Add(c.limit); until.After(c.now) {
		st.inFlight++
		if st.until.IsZero() || until.Before(st.until) {
			st.until = until
		}
		return
	}
	st.violate(i, at, format+fmt.Sprintf(" (since %s)", since.UTC().Format(time.RFC3339)), args...)
}

// clock is the time of a round.
type clock struct {
	now   time.Time
	limit time.Duration
	// from is when everything began to run: what is older is awaited since then.
	from time.Time
}

package streams

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Context is a task at work on a record or a punctuation. It is valid during the
// call only and belongs to the task's goroutine.
type Context struct {
	t       *task
	topic   string
	offset  int64
	time    time.Time // capped to now
	raw     time.Time // as it came
	headers []Header
	rawKey  []byte
	node    *node // the operator at work, nil for the library itself
}

// Now returns the task's time, taken once per batch of records: a stage reads no
// other clock.
func (c *Context) Now() time.Time { return c.t.now }

// RecordTime returns the timestamp of the record at hand as it came, which may be
// in the future, unlike Record.Time; zero in a punctuation.
func (c *Context) RecordTime() time.Time { return c.raw }

// Partition returns the task's number, which is the partition of its inputs.
func (c *Context) Partition() int32 { return c.t.partition }

// Topic returns the topic of the record at hand, "" in a punctuation.
func (c *Context) Topic() string { return c.topic }

// Offset returns the offset of the record at hand, -1 in a punctuation and for a
// record that was handed over.
func (c *Context) Offset() int64 { return c.offset }

// RawKey returns the bytes of the key of the record at hand, valid during the
// call only; nil for a null key and in a punctuation.
func (c *Context) RawKey() []byte { return c.rawKey }

// PartitionFor returns the partition of an internal topic that a key belongs to.
func PartitionFor(c *Context, o Resource, key []byte) int32 {
	_, name := o.describe()
	return Partition(key, c.t.counts[name])
}

// Count counts a record under an outcome: "ok", "duplicate", "error", "dlq" or a
// word of the stage's own. Outcomes must be few. What an aborted transaction
// counted is not counted.
func (c *Context) Count(outcome string) { c.t.count(outcome) }

// Logger returns the application's logger.
func (c *Context) Logger() *slog.Logger { return c.t.logger }

// check panics, under a test driver, when an operator uses what it did not declare.
func (c *Context) check(r Resource) {
	if !c.t.strict || c.node == nil || slices.Contains(c.node.uses, r) {
		return
	}
	kind, name := r.describe()
	panic(fmt.Sprintf("%s %q uses %s %q without declaring it", c.node.kind, c.node.name, kind, name))
}

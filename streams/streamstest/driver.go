// Package streamstest runs a topology in a test: no broker, no goroutine, and a
// clock that the test turns. State is real, in memory.
package streamstest

import (
	"testing"
	"time"

	"github.com/comptoir/comptoir/streams"
)

// Start is the time on a new Driver's clock.
var Start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// Driver runs one topology. It is not safe for concurrent use.
type Driver struct {
	tb    testing.TB
	box   *streams.Sandbox
	kept  []streams.RawRecord
	taken map[string]int
}

// Option sets up a Driver.
type Option func(*config)

type config struct {
	partitions int32
	topics     map[string]int32
	now        time.Time
}

// Partitions gives every public topic n partitions, overriding the default of 3.
func Partitions(n int32) Option { return func(c *config) { c.partitions = n } }

// TopicPartitions gives one public topic n partitions.
func TopicPartitions(topic string, n int32) Option {
	return func(c *config) { c.topics[topic] = n }
}

// Now sets the clock, overriding Start.
func Now(t time.Time) Option { return func(c *config) { c.now = t } }

// New builds the topology that build describes and opens it with empty state.
func New(tb testing.TB, app string, build func(*streams.Builder), opts ...Option) *Driver {
	tb.Helper()
	cfg := config{partitions: 3, topics: map[string]int32{}, now: Start}
	for _, o := range opts {
		o(&cfg)
	}
	b := streams.NewBuilder(app)
	build(b)
	top, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	box, err := streams.NewSandbox(top, cfg.now, cfg.partitions, cfg.topics)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := box.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &Driver{tb: tb, box: box, taken: map[string]int{}}
}

// PipeRaw writes an encoded record, handles it and all that follows, and returns
// where it was written. See streams.Sandbox.Pipe.
func (d *Driver) PipeRaw(r streams.RawRecord) streams.RawRecord {
	d.tb.Helper()
	r = d.box.Pipe(r)
	d.collect()
	return r
}

// Pipe writes a key and a value as text; an empty key is a null key.
func (d *Driver) Pipe(topic, key, value string) streams.RawRecord {
	d.tb.Helper()
	var k []byte
	if key != "" {
		k = []byte(key)
	}
	return d.PipeRaw(streams.RawRecord{Topic: topic, Partition: -1, Key: k, Value: []byte(value)})
}

// Advance turns the clock and runs the punctuations that are due.
func (d *Driver) Advance(by time.Duration) {
	d.tb.Helper()
	d.box.Advance(by)
	d.collect()
}

// Now returns the clock's time.
func (d *Driver) Now() time.Time { return d.box.Now() }

// Restart reopens the tasks from their committed state, as after a crash.
func (d *Driver) Restart() {
	d.tb.Helper()
	if err := d.box.Restart(); err != nil {
		d.tb.Fatal(err)
	}
}

// Read returns the records written to a topic since the last Read of it.
func (d *Driver) Read(topic string) []streams.RawRecord {
	var out []streams.RawRecord
	for _, r := range d.kept {
		if r.Topic == topic {
			out = append(out, r)
		}
	}
	n := d.taken[topic]
	d.taken[topic] = len(out)
	return out[n:]
}

// Values returns the values written to a topic since the last Read of it, as text.
func (d *Driver) Values(topic string) []string {
	var out []string
	for _, r := range d.Read(topic) {
		out = append(out, string(r.Value))
	}
	return out
}

// Counted returns how often an outcome was counted.
func (d *Driver) Counted(outcome string) int { return d.box.Counted(outcome) }

// Dropped returns the errors of records that did not decode since the last call.
func (d *Driver) Dropped() []error { return d.box.Dropped() }

func (d *Driver) collect() { d.kept = append(d.kept, d.box.Written()...) }

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// format is the version of the report's form.
const format = 1

// Ways to send orders.
const (
	ViaKafka = "kafka"
	ViaHTTP  = "http"
)

// HopRead is the last hop: from the notification's record to its being read,
// with the end of its transaction.
const HopRead = "read"

// Duration is a time.Duration in text, such as 10s.
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Settings say what was asked for.
type Settings struct {
	// Target is embedded, instances or running.
	Target string `json:"target"`
	// Instances is how many processes of its own the run had.
	Instances int    `json:"instances"`
	Sync      string `json:"sync,omitempty"` // of the embedded broker
	Via       string `json:"via"`
	// Orders is how many are sent at saturation; 0: none.
	Orders int `json:"orders"`
	// InFlight is how many of them may be under way at once, sent and not notified
	// yet; 0: all.
	InFlight int       `json:"in_flight,omitempty"`
	Rates    []float64 `json:"rates"` // orders per second
	// Duration is how long orders are sent at each rate.
	Duration Duration `json:"duration"`
	Rounds   int      `json:"rounds"`
	Kill     bool     `json:"kill"`
	Floor    bool     `json:"floor"`
}

// Machine is where it was measured: the side of the load.
type Machine struct {
	Platform string `json:"platform"`
	CPUs     int    `json:"cpus"`
	CPU      string `json:"cpu,omitempty"`
	// Load is the load average of the last minute at the begin.
	Load float64 `json:"load"`
}

// Report is a whole run.
type Report struct {
	Format   int       `json:"format"`
	Begun    time.Time `json:"begun"`
	Comptoir string    `json:"comptoir"`
	Go       string    `json:"go"`
	Kafka    string    `json:"kafka"` // as its protocol tells
	Machine  Machine   `json:"machine"`
	Settings Settings  `json:"settings"`
	Rounds   []Round   `json:"rounds"`
	// Parts are where the CPU time of all throughput phases went, if profiles were
	// taken.
	Parts []Part   `json:"parts,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Round is every phase once.
type Round struct {
	Measured
	Kill  *Kill     `json:"kill,omitempty"`
	Floor *Measured `json:"floor,omitempty"`
}

// Measured is what a round found on one target.
type Measured struct {
	Saturation *Saturation `json:"saturation,omitempty"`
	Rates      []Latency   `json:"rates"`
	PeakRSS    int64       `json:"peak_rss_bytes,omitempty"` // of the biggest process
}

// Saturation is what came of orders sent as fast as they were taken.
type Saturation struct {
	Orders    int     `json:"orders"`
	PerSecond float64 `json:"orders_per_s"` // at the notification
	// FirstPerSecond is that of the first 20,000 orders; 0 if there were fewer.
	FirstPerSecond float64 `json:"first_20000_orders_per_s,omitempty"`
	// Whole is from an order's being sent to its notification being read, if
	// Settings.InFlight bounds it.
	Whole *Quantiles `json:"whole,omitempty"`
	// RestSeconds is the time from the last notification until every group had
	// read everything.
	RestSeconds float64 `json:"rest_s"`
	// Yardstick is the processor time, in microseconds, that a piece of work which is
	// always the same took on the side of the load until the last notification (the
	// median of five a second): how fast the machine was. 0: not known.
	Yardstick float64 `json:"yardstick_us,omitempty"`
	Cost      Cost    `json:"cost"`
}

// Cost is of one order.
type Cost struct {
	// CPU time of the measured processes: until the last notification, and until
	// they are at rest, with what tracking, archive and audit catch up on.
	CPUNotified float64 `json:"cpu_notified_us,omitempty"`
	CPUMicros   float64 `json:"cpu_us,omitempty"`
	// CPUKernel is the part of CPUNotified that was spent in the kernel: system calls,
	// and memory that is touched for the first time. 0: not known.
	CPUKernel float64 `json:"cpu_kernel_us,omitempty"`
	// Records counts offsets: records, and the markers of transactions.
	Records float64     `json:"records"`
	Bytes   float64     `json:"bytes,omitempty"` // as the logs grew, replicas included
	Topics  []TopicCost `json:"topics"`
}

// TopicCost is the share of one topic.
type TopicCost struct {
	Topic   string  `json:"topic"`
	Records float64 `json:"records"`
	Bytes   float64 `json:"bytes,omitempty"`
}

// Latency is what came of orders sent at a rate.
type Latency struct {
	Rate   float64 `json:"rate"`
	Orders int     `json:"orders"`
	// Whole is from the moment an order was to be sent to its notification being
	// read.
	Whole Quantiles `json:"whole"`
	// Answer is from the same moment to the answer by HTTP.
	Answer *Quantiles `json:"answer,omitempty"`
	// Accepted is from the answer by HTTP to the notification being read.
	Accepted *Quantiles `json:"accepted,omitempty"`
	Hops     []Hop      `json:"hops,omitempty"`
}

// Hop is a part of the way, from the hop before.
type Hop struct {
	To   string    `json:"to"` // a topic, or HopRead
	Took Quantiles `json:"took"`
}

// Kill is what came of a kill under load.
type Kill struct {
	Rate   float64 `json:"rate"`
	Orders int     `json:"orders"`
	// LongestWait is of one order, LongestGap without any notification; in
	// seconds.
	LongestWait float64 `json:"longest_wait_s"`
	LongestGap  float64 `json:"longest_gap_s"`
}

const (
	maxReport = 16 << 20
	maxRounds = 1000
)

// Decode reads a report from JSON.
func Decode(in io.Reader) (*Report, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxReport+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxReport {
		return nil, fmt.Errorf("larger than %d bytes", maxReport)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Format != format:
		return nil, fmt.Errorf("format %d is not %d: it is no report of bench, or of another version", r.Format, format)
	case len(r.Rounds) == 0:
		return nil, errors.New("a report without rounds")
	case len(r.Rounds) > maxRounds:
		return nil, fmt.Errorf("more than %d rounds", maxRounds)
	}
	return &r, nil
}

// thisMachine describes this machine, as far as it tells.
func thisMachine() Machine {
	m := Machine{Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if _, err := fmt.Sscan(string(b), &m.Load); err != nil || math.IsNaN(m.Load) || math.IsInf(m.Load, 0) {
			m.Load = 0
		}
	}
	return m
}

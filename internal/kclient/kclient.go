// Package kclient builds every franz-go client of Comptoir, so that brokers,
// logging, metrics and identification are set in one place. It knows nothing
// of topics or of commerce.
package kclient

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says which cluster to reach and how. The zero value is not usable:
// Brokers is required.
type Config struct {
	// Brokers are the seed addresses, host:port.
	Brokers []string
	// ClientID is sent with every request. Defaults to "comptoir".
	ClientID string
	// Dial opens connections; nil means TCP. An in-process broker gives its own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Silent is shared by the clients of a process, so that they wait for a broker
	// that hangs once and not one after the other; nil means that each waits.
	Silent *Silent
	// Logger receives the client's own log from Info up; nil discards it.
	Logger *slog.Logger
	// Metrics is added to every client as a hook; nil means none.
	Metrics *Metrics
}

// A process has some ten consumers, and each holds for every broker an answer as
// it came and the records read from it, while the embedded broker prepares the
// next: franz-go's own 50 MiB are for one consumer that has the process to
// itself. A larger record or batch still comes, alone.
const (
	fetchBytes          = 1 << 20
	fetchPartitionBytes = 1 << 20
)

// answerTimeout is how long a broker may take to take a connection, and to answer
// beyond what the request itself may wait.
const answerTimeout = 5 * time.Second

// Options returns the options common to all clients. A caller appends its own,
// which win.
func (c Config) Options() []kgo.Opt {
	id := c.ClientID
	if id == "" {
		id = "comptoir"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		// The defaults back off for 250 ms at once, which is felt as latency
		// after every broker restart.
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		// A broker that hangs takes connections and gives no answer. After 9 s
		// Kafka has others do its work; franz-go's 10 s, waited for one thing
		// after the other, make it a minute.
		kgo.RequestTimeoutOverhead(answerTimeout),
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: answerTimeout}).DialContext
	}
	if c.Silent != nil {
		dial = c.Silent.through(dial)
		opts = append(opts, kgo.WithHooks(c.Silent))
	}
	opts = append(opts, kgo.Dialer(answered(dial)))
	if c.Logger != nil {
		opts = append(opts, kgo.WithLogger(logger{c.Logger}))
	}
	if c.Metrics != nil {
		opts = append(opts, kgo.WithHooks(c.Metrics))
	}
	return opts
}

// New opens a client with the common options and those of the caller.
// It does not contact the cluster.
func (c Config) New(opts ...kgo.Opt) (*kgo.Client, error) {
	if len(c.Brokers) == 0 {
		return nil, fmt.Errorf("kafka client: no brokers given")
	}
	cl, err := kgo.NewClient(append(c.Options(), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return cl, nil
}

// backoff is how long a request waits before it is tried again. All members of a
// group wait for the last one that asks for its new coordinator, so it is short.
func backoff(tries int) time.Duration {
	d := 20 * time.Millisecond << min(tries, 5)
	return min(d, 400*time.Millisecond)
}

// logger passes franz-go's log on. Its Info level tells of every metadata
// update and rebalance step, which is Debug to an operator of Comptoir.
type logger struct{ l *slog.Logger }

func (l logger) Level() kgo.LogLevel {
	if l.l.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	lv := slog.LevelDebug
	switch level {
	case kgo.LogLevelError, kgo.LogLevelWarn:
		// franz-go heals these by itself; who acts on them logs them again.
		lv = slog.LevelWarn
	}
	l.l.Log(context.Background(), lv, "kafka client: "+msg, keyvals...)
}

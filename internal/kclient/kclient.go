// Package kclient builds every franz-go client of Comptoir, so that brokers,
// logging, metrics and identification are set in one place. It knows nothing
// of topics or of commerce.
package kclient

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
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
	}
	if c.Dial != nil {
		opts = append(opts, kgo.Dialer(c.Dial))
	}
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

// Seen returns the configuration with those brokers as seeds that are there by the
// word of cl, a client of the same cluster that has been at work for a while: a
// new client begins with any seed, and would wait for one that hangs.
func (c Config) Seen(ctx context.Context, cl *kgo.Client) (Config, error) {
	now, err := kadm.NewClient(cl).BrokerMetadata(ctx)
	if err != nil {
		return c, fmt.Errorf("brokers: %w", err)
	}
	if len(now.Brokers) == 0 {
		return c, nil
	}
	c.Brokers = nil
	for _, b := range now.Brokers {
		c.Brokers = append(c.Brokers, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	}
	return c, nil
}

func backoff(tries int) time.Duration {
	d := 20 * time.Millisecond << min(tries, 6)
	return min(d, time.Second)
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

package kill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// client is a franz-go client that comes back quickly after a kill.
func (r *run) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(r.options(opts...)...)
}

func (r *run) options(opts ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(r.addr), kgo.AlwaysRetryEOF(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.RetryTimeout(patience), kgo.RequestRetries(1000), kgo.RecordRetries(1 << 30), kgo.UnknownTopicRetries(-1),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2 * time.Millisecond),
		kgo.SessionTimeout(10 * time.Second), kgo.RebalanceTimeout(10 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond),
	}, opts...)
}

// codec is one of the ways to compress, which the broker passes through.
func codec(n int) kgo.CompressionCodec {
	return []kgo.CompressionCodec{kgo.NoCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.GzipCompression(), kgo.ZstdCompression()}[n%5]
}

// create makes a topic; settings are name and value in turn.
func (r *run) create(ctx context.Context, name string, partitions int32, settings ...string) error {
	conn, err := wire.Dial(ctx, r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return createTopic(ctx, conn, name, partitions, settings...)
}

func createTopic(ctx context.Context, conn *wire.Conn, name string, partitions int32, settings ...string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 4, 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(settings); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = settings[i], &settings[i+1]
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("create "+name, answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
}

// coordinated returns when groups (0) or transactions (1) have a coordinator.
// Apache Kafka makes its topics for them when it is asked for one first.
func (r *run) coordinated(ctx context.Context, kind int8) error {
	conn, err := wire.Dial(ctx, r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return until(ctx, func() error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey, req.CoordinatorType = 3, "any", kind
		answer, err := conn.Do(ctx, req)
		if err != nil {
			return err
		}
		return refusal("find coordinator", answer.(*kmsg.FindCoordinatorResponse).ErrorCode)
	})
}

// refusedError is the broker's answer that something was not done; any other
// error leaves open whether it was.
type refusedError struct {
	what string
	err  error
}

func (e *refusedError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }
func (e *refusedError) Unwrap() error { return e.err }

func refusal(what string, code int16) error {
	if err := kerr.ErrorForCode(code); err != nil {
		return &refusedError{what, err}
	}
	return nil
}

// refused says that the broker will not do it, not only that it is not ready to:
// then the answer counts as none.
func refused(err error) bool {
	var r *refusedError
	return errors.As(err, &r) && !slices.ContainsFunc(unready, func(e error) bool { return errors.Is(err, e) })
}

var unready = []error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions}

// steps calls step again and again over a connection that is made anew after an
// error, until the context ends. It is the way of actors that send requests one
// by one.
func (r *run) steps(ctx context.Context, pause time.Duration, step func(ctx context.Context, conn *wire.Conn) error) {
	var conn *wire.Conn
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
			return
		case <-tick.C:
		}
		if conn == nil {
			var err error
			if conn, err = wire.Dial(ctx, r.addr); err != nil {
				conn = nil
				continue
			}
		}
		// A step that has begun is not cut short by the end of the work: its
		// outcome would be unknown for nothing.
		if err := step(context.WithoutCancel(ctx), conn); err != nil && !refused(err) {
			conn.Close()
			conn = nil
		}
	}
}

package streams

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// globalReader keeps the global tables of an App up with their topics.
type globalReader struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}
}

// startGlobals reads the topics of the global tables to their ends and goes on
// following them in the background.
func startGlobals(ctx context.Context, cfg Config, globals []*globalState) (*globalReader, error) {
	byTopic := map[string][]*globalState{}
	var topics []string
	for i, g := range cfg.Topology.globals {
		if byTopic[g.topic()] == nil {
			topics = append(topics, g.topic())
		}
		byTopic[g.topic()] = append(byTopic[g.topic()], globals[i])
	}
	cl, err := cfg.Kafka.New(append(readerOptions(),
		kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	var positions, ends map[partitionKey]int64
	err = retry(ctx, cfg.Logger.Warn, "the global tables cannot be read yet", func() (err error) {
		positions, ends, err = bounds(ctx, kadm.NewClient(cl), topics...)
		return err
	})
	apply := func(r *kgo.Record) error {
		for _, g := range byTopic[r.Topic] {
			if err := g.put(r.Key, r.Value); err != nil && !skipped(err) {
				cfg.Metrics.decodeErrors.WithLabelValues(cfg.Topology.app, r.Topic).Inc()
				cfg.Logger.Warn("record passed over: it does not decode", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
			}
		}
		return nil
	}
	if err == nil {
		err = readTo(ctx, cl, positions, ends, apply, nil)
	}
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("load global tables: %w", err)
	}
	run, cancel := context.WithCancel(context.Background())
	r := &globalReader{cl: cl, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for run.Err() == nil {
			fetches := cl.PollFetches(run)
			for _, fe := range fetches.Errors() {
				if !interrupted(fe.Err) {
					cfg.Logger.Warn("global table cannot be read", "topic", fe.Topic, "partition", fe.Partition, "err", fe.Err)
				}
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if !r.Attrs.IsControl() {
					_ = apply(r)
				}
			})
		}
	}()
	return r, nil
}

func (r *globalReader) stop() {
	r.cancel()
	<-r.done
	r.cl.Close()
}

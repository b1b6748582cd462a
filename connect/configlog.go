package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

// TargetState is what a user asked a connector to be.
type TargetState string

// The target states, as Kafka Connect stores them.
const (
	Started TargetState = "STARTED"
	Paused  TargetState = "PAUSED"
	Stopped TargetState = "STOPPED"
)

// The keys of the configuration topic. See KafkaConfigBackingStore.
const (
	connectorPrefix = "connector-"
	targetPrefix    = "target-state-"
	taskPrefix      = "task-"
	commitPrefix    = "commit-"
	restartPrefix   = "restart-connector-"
)

// entry is what the topic says of one connector.
type entry struct {
	config map[string]string // nil: there is no such connector
	target TargetState
}

// restartRequest is Kafka Connect's KIP-745 record: it reaches every worker.
type restartRequest struct {
	IncludeTasks bool `json:"include-tasks"`
	OnlyFailed   bool `json:"only-failed"`
}

type properties struct {
	Properties map[string]*string `json:"properties"`
}

type targetValue struct {
	State   TargetState  `json:"state"`
	StateV2 *TargetState `json:"state.v2,omitempty"`
}

type commitValue struct {
	Tasks int `json:"tasks"`
}

// encodeJSON writes compact JSON as Jackson does: no HTML escapes, no newline.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("connect: encode " + err.Error()) // maps and structs of strings always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func configRecord(key string, v any) *kgo.Record {
	return &kgo.Record{Key: []byte(key), Value: encodeJSON(v)}
}

func connectorRecord(name string, config map[string]string) *kgo.Record {
	return configRecord(connectorPrefix+name, map[string]any{"properties": config})
}

func targetRecord(name string, target TargetState) *kgo.Record {
	// Workers before Kafka 3.5 do not know STOPPED: "state" is for them.
	old := target
	if target == Stopped {
		old = Paused
	}
	return configRecord(targetPrefix+name, targetValue{State: old, StateV2: &target})
}

// taskRecords are what Kafka Connect's leader writes for the tasks. This
// runtime derives tasks from the connector's configuration and writes them
// only so that the topic stays whole for a worker of Kafka's.
func taskRecords(name, taskClass string, config map[string]string, tasks int) []*kgo.Record {
	var out []*kgo.Record
	for i := range tasks {
		out = append(out, configRecord(taskPrefix+name+"-"+strconv.Itoa(i), map[string]any{"properties": taskConfig(config, taskClass)}))
	}
	return append(out, configRecord(commitPrefix+name, commitValue{tasks}))
}

func taskConfig(config map[string]string, taskClass string) map[string]string {
	out := maps.Clone(config)
	out["task.class"] = taskClass
	return out
}

// configLog reads and writes the configuration topic. Reading happens in one
// goroutine, from the topic's start for ever.
type configLog struct {
	topic  string
	adapt  func(name string, config map[string]string) map[string]string // nil for none
	cl     *kgo.Client
	logger *slog.Logger
	// onChange and onRestart are called by the reading goroutine after start.
	onChange  func(name string, e entry)
	onRestart func(name string, r restartRequest)

	mu      sync.Mutex
	entries map[string]entry
	next    int64         // offset behind the last record applied
	moved   chan struct{} // closed and replaced whenever next moves
	live    bool

	cancel context.CancelFunc
	done   chan struct{}
}

func openConfigLog(ctx context.Context, cfg Config, logger *slog.Logger) (*configLog, error) {
	l := &configLog{topic: cfg.ConfigTopic, adapt: cfg.Adapt, logger: logger, entries: make(map[string]entry), moved: make(chan struct{})}
	if err := ensureConfigTopic(ctx, cfg.Kafka, l.topic, cfg.ReplicationFactor); err != nil {
		return nil, err
	}
	var err error
	l.cl, err = cfg.Kafka.New(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.DefaultProduceTopic(l.topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return nil, err
	}
	if err := l.readToEnd(ctx); err != nil {
		l.cl.Close()
		return nil, fmt.Errorf("read topic %s: %w", l.topic, err)
	}
	return l, nil
}

// ensureConfigTopic creates the topic, or refuses one that would lose or
// disorder configurations.
func ensureConfigTopic(ctx context.Context, kafka kclient.Config, topic string, replication int16) error {
	cl, err := kafka.New()
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	policy := "compact"
	_, err = adm.CreateTopic(ctx, 1, replication, map[string]*string{"cleanup.policy": &policy}, topic)
	if err == nil {
		return nil
	}
	if !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	topics, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", topic, err)
	}
	if n := len(topics[topic].Partitions); n > 1 {
		return fmt.Errorf("topic %s has %d partitions and must have one, or configurations lose their order: name another topic, or delete this one", topic, n)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", topic, err)
	}
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if c.Key == "cleanup.policy" && c.Value != nil && *c.Value != "compact" {
				return fmt.Errorf("topic %s has cleanup.policy=%s and would lose configurations: set it to compact", topic, *c.Value)
			}
		}
	}
	return nil
}

// quietTail is how long a fetch may bring nothing before the log counts as
// read: compaction can remove the very records that the end offset counts.
const quietTail = 3 * time.Second

func (l *configLog) readToEnd(ctx context.Context) error {
	end, err := l.end(ctx)
	if err != nil {
		return err
	}
	for l.next < end {
		pctx, cancel := context.WithTimeout(ctx, quietTail)
		fetches := l.cl.PollFetches(pctx)
		quiet := pctx.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("stopped at offset %d of %d: %w", l.next, end, ctx.Err())
		}
		if fetches.NumRecords() == 0 && quiet {
			if err := l.cl.Ping(ctx); err != nil {
				return err
			}
			l.logger.Info("configuration topic is shorter than its end offset", "topic", l.topic, "at", l.next, "end", end)
			break
		}
		fetches.EachRecord(l.apply)
	}
	return nil
}

// leaderTimeout bounds how long the topic may have no leader.
const leaderTimeout = 30 * time.Second

// end is behind the last committed record. A topic that was just created is not
// known to every broker, and has no leader, for a moment.
func (l *configLog) end(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	for {
		ends, err := kadm.NewClient(l.cl).ListCommittedOffsets(ctx, l.topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil || !kerr.IsRetriable(err) {
			end, _ := ends.Lookup(l.topic, 0)
			return end.Offset, err
		}
		if !lifecycle.Sleep(ctx, 50*time.Millisecond) {
			return 0, err
		}
	}
}

// follow begins to call back. Every connector known so far is announced first.
func (l *configLog) follow(onChange func(string, entry), onRestart func(string, restartRequest)) {
	l.onChange, l.onRestart, l.live = onChange, onRestart, true
	for name, e := range l.entries {
		if e.config != nil {
			onChange(name, e)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan struct{})
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			fetches := l.cl.PollFetches(ctx)
			fetches.EachError(func(topic string, _ int32, err error) {
				if ctx.Err() == nil {
					l.logger.Warn("cannot read connector configurations", "topic", topic, "error", err)
				}
			})
			fetches.EachRecord(l.apply)
		}
	}()
}

func (l *configLog) close() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
	l.cl.Close()
}

// apply takes over one record. One that cannot be understood changes nothing:
// it may be of a later version.
func (l *configLog) apply(r *kgo.Record) {
	l.mu.Lock()
	var name string
	var restart *restartRequest
	if !r.Attrs.IsControl() {
		var err error
		if name, restart, err = l.record(string(r.Key), r.Value); err != nil {
			l.logger.Warn("configuration record ignored", "topic", r.Topic, "offset", r.Offset, "key", string(r.Key), "error", err)
			name = ""
		}
	}
	e := l.entries[name]
	l.next = r.Offset + 1
	close(l.moved)
	l.moved = make(chan struct{})
	l.mu.Unlock()
	switch {
	case name == "" || !l.live:
	case restart != nil:
		l.onRestart(name, *restart)
	default:
		l.onChange(name, e)
	}
}

// record changes the state as one record says and returns which connector that
// concerns; empty if none.
func (l *configLog) record(key string, value []byte) (string, *restartRequest, error) {
	if name, ok := strings.CutPrefix(key, restartPrefix); ok {
		var r restartRequest
		if value == nil {
			return "", nil, nil
		}
		err := json.Unmarshal(value, &r)
		return name, &r, err
	}
	if name, ok := strings.CutPrefix(key, targetPrefix); ok {
		e := l.entries[name]
		if value == nil {
			e.target = Started
			l.entries[name] = e
			return name, nil, nil
		}
		var v targetValue
		if err := json.Unmarshal(value, &v); err != nil {
			return "", nil, err
		}
		if v.StateV2 != nil {
			v.State = *v.StateV2
		}
		switch v.State {
		case Started, Paused, Stopped:
			e.target = v.State
		default:
			return "", nil, fmt.Errorf("unknown target state %q", v.State)
		}
		l.entries[name] = e
		return name, nil, nil
	}
	name, ok := strings.CutPrefix(key, connectorPrefix)
	if !ok {
		return "", nil, nil // task-, commit-, session-key and others are not ours to use
	}
	e := l.entries[name]
	if value == nil {
		// A target state may precede its connector's configuration, so only its
		// own tombstone removes it.
		e.config = nil
		l.entries[name] = e
		return name, nil, nil
	}
	var p properties
	if err := json.Unmarshal(value, &p); err != nil {
		return "", nil, err
	}
	e.config = make(map[string]string, len(p.Properties))
	for k, v := range p.Properties {
		if v != nil {
			e.config[k] = *v
		}
	}
	if l.adapt != nil {
		e.config = l.adapt(name, e.config)
	}
	if e.target == "" {
		e.target = Started
	}
	l.entries[name] = e
	return name, nil, nil
}

// get returns the entry of a connector; ok is false if there is none.
func (l *configLog) get(name string) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[name]
	return e, e.config != nil
}

// write appends records and waits until they are applied here.
func (l *configLog) write(ctx context.Context, records ...*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	results := l.cl.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		return fmt.Errorf("write to topic %s: %w", l.topic, err)
	}
	target := int64(0)
	for _, r := range results {
		target = max(target, r.Record.Offset+1)
	}
	for {
		l.mu.Lock()
		next, moved := l.next, l.moved
		l.mu.Unlock()
		if next >= target {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("written to topic %s, but not read back yet: %w", l.topic, ctx.Err())
		}
	}
}

package connect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The stages of Kafka Connect's error headers.
const (
	stagePut   = "TASK_PUT"
	stageValue = "VALUE_CONVERTER"
)

// refusedError is a record that stops its task.
type refusedError struct {
	where string
	cause error
}

func (e *refusedError) Error() string { return e.where + ": " + e.cause.Error() }
func (e *refusedError) Unwrap() error { return e.cause }

func (t *task) report(ctx context.Context, r *Record, cause error) error {
	return t.reportStage(ctx, r, cause, stagePut)
}

// reportStage deals with a record that cannot be handled, as errors.tolerance
// says. A record reported once is not reported again when its batch is retried.
func (t *task) reportStage(ctx context.Context, r *Record, cause error, stage string) error {
	if t.spec.values.String("errors.tolerance") != "all" {
		return &refusedError{r.String(), fmt.Errorf("%w. Repair this and POST /connectors/%s/restart; or go on without such records: errors.tolerance=all, with errors.deadletterqueue.topic.name to keep them", cause, t.c.name)}
	}
	if r.reported {
		return nil
	}
	outcome := outcomeSkipped
	if topic := t.spec.values.String("errors.deadletterqueue.topic.name"); topic != "" {
		if err := t.deadLetter(ctx, topic, r, cause, stage); err != nil {
			return Retriable(fmt.Errorf("dead-letter topic %s: %w", topic, err))
		}
		outcome = outcomeDLQ
	}
	r.reported = true
	t.c.w.metrics.records.WithLabelValues(t.c.name, outcome).Inc()
	if t.spec.values.Bool("errors.log.enable") {
		t.logger.Error("record left out", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "stage", stage, "error", cause)
	}
	return nil
}

// deadLetter sends the record as it came, with headers that say why.
func (t *task) deadLetter(ctx context.Context, topic string, r *Record, cause error, stage string) error {
	rec := &kgo.Record{Topic: topic, Key: r.RawKey, Value: r.RawValue, Timestamp: r.Timestamp}
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader(h))
	}
	if t.spec.values.Bool("errors.deadletterqueue.context.headers.enable") {
		add := func(name, value string) {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: "__connect.errors." + name, Value: []byte(value)})
		}
		add("topic", r.Topic)
		add("partition", strconv.Itoa(int(r.Partition)))
		add("offset", strconv.FormatInt(r.Offset, 10))
		add("connector.name", t.c.name)
		add("task.id", strconv.Itoa(t.id))
		add("stage", stage)
		class := t.spec.plugin.TaskClass
		if stage == stageValue {
			class = "org.apache.kafka.connect.json.JsonConverter"
		}
		add("class.name", class)
		add("exception.class.name", fmt.Sprintf("%T", cause))
		add("exception.message", cause.Error())
		add("exception.stacktrace", r.String()+": "+cause.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := t.c.w.admin.ProduceSync(ctx, rec).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	if _, err := kadm.NewClient(t.c.w.admin).CreateTopic(ctx, 1, t.c.w.cfg.ReplicationFactor, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	rec.Context = nil
	return t.c.w.admin.ProduceSync(ctx, rec).FirstErr()
}

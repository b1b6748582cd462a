package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Plugin is one kind of connector. All of it is read-only after New.
type Plugin struct {
	// Class is the name users write in "connector.class". A native connector
	// carries the Java name of the one it stands for.
	Class string
	// Aliases are further names for it. The class's last part, with and without
	// "Connector", is always one.
	Aliases []string
	// TaskClass is the task's Java name, stored in task configurations.
	TaskClass string
	// Version is shown by the REST API.
	Version string
	// Options declares what the connector reads, beside the options common to
	// all. Validation, defaults and documentation derive from it.
	Options []Option
	// Check judges options together after each has been judged alone. It may be
	// nil.
	Check func(Values) []FieldError
	// NewSink makes the sink of one task. It must not do I/O.
	NewSink func(TaskContext) (Sink, error)
}

func (p *Plugin) answersTo(class string) bool {
	if strings.EqualFold(class, p.Class) {
		return true
	}
	short := shortClass(p.Class)
	for _, alias := range append([]string{short, strings.TrimSuffix(short, "Connector")}, p.Aliases...) {
		if class == alias {
			return true
		}
	}
	return false
}

// TaskContext is what a task knows of itself.
type TaskContext struct {
	Connector string
	Task      int
	Values    Values
	Logger    *slog.Logger
	// Report hands over a record that the sink cannot write. It returns nil when
	// the record is taken care of (errors.tolerance=all, and the dead-letter
	// topic has it if there is one): the sink goes on without it. Otherwise the
	// sink must keep what came before the record, and return the error.
	Report func(ctx context.Context, r *Record, cause error) error
}

// Sink writes records of a topic elsewhere. The runtime calls Start, then Put
// again and again from one goroutine, then Stop.
type Sink interface {
	// Start prepares the sink. It must not fail because the other system is
	// down: Put reports that.
	Start(ctx context.Context) error
	// Put writes a batch. On an error that [Retriable] marked, the same batch
	// (without partitions lost meanwhile) is given again until it succeeds; any
	// other error stops the task as FAILED. Records of a partition come in the
	// order of their offsets.
	Put(ctx context.Context, batch []*Record) error
	// Stop releases everything. No Put is running.
	Stop(ctx context.Context) error
}

// PartitionOwner is a Sink that stores offsets beside its data, in the same
// transaction, so that each record is written exactly once. Kafka's committed
// offsets then only serve tools that show lag.
type PartitionOwner interface {
	Sink
	// Assign takes the partitions over, fencing any former owner, and returns
	// where each continues. It may run beside a Put of other partitions, and is
	// repeated until it succeeds.
	Assign(ctx context.Context, partitions []Assignment) (map[TopicPartition]int64, error)
	// Offsets returns the stored offsets.
	Offsets(ctx context.Context) (map[TopicPartition]int64, error)
	// SetOffsets changes stored offsets; an offset below zero forgets the
	// partition. The connector is stopped.
	SetOffsets(ctx context.Context, offsets map[TopicPartition]int64) error
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is "topic-partition", as Kafka writes it.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }

// Assignment is a partition to take over.
type Assignment struct {
	TopicPartition
	// TopicID tells a re-created topic from its predecessor. It is empty when
	// the cluster has no topic ids.
	TopicID string
	// Start is where to begin if the sink has no offset of this topic id.
	Start int64
	// Earliest is the first offset that can still be read: where to begin if the
	// sink has the offset of a predecessor of the topic.
	Earliest int64
}

// Record is one Kafka record with its decoded value.
type Record struct {
	TopicPartition
	Offset    int64
	Timestamp time.Time
	// RawKey and RawValue are the bytes as they came; nil is Kafka's null.
	RawKey, RawValue []byte
	Headers          []Header
	// Value is the decoded value.
	Value Value
	// Skip marks a record that was left out before it reached the sink. Only a
	// PartitionOwner gets such records: it writes nothing for them, but moves
	// its offset past them.
	Skip bool

	key      converter
	reported bool
}

// Header is a record header.
type Header struct {
	Key   string
	Value []byte
}

// Key decodes the key with the connector's key.converter. Keys are decoded
// only on demand: a sink that ignores them takes records whatever their keys.
func (r *Record) Key() (Value, error) {
	if r.key == nil {
		return decodeString(r.RawKey)
	}
	return r.key(r.RawKey)
}

// String says where the record stands.
func (r *Record) String() string {
	return fmt.Sprintf("topic %s partition %d offset %d", r.Topic, r.Partition, r.Offset)
}

// ErrFenced says that another task took a partition over: nothing was written.
var ErrFenced = errors.New("another task owns the partition now")

type retriableError struct{ err error }

func (e *retriableError) Error() string { return e.err.Error() }
func (e *retriableError) Unwrap() error { return e.err }

// Retriable marks an error that goes away by itself or by an operator's act:
// the runtime tries again and shows it in the task's status meanwhile.
func Retriable(err error) error { return &retriableError{err} }

// IsRetriable reports whether err was marked by [Retriable].
func IsRetriable(err error) bool {
	var r *retriableError
	return errors.As(err, &r)
}

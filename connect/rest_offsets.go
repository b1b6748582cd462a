package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// sinkOffset is one partition's offset as Kafka Connect's REST API writes it.
type sinkOffset struct {
	Partition struct {
		Topic     string `json:"kafka_topic"`
		Partition int32  `json:"kafka_partition"`
	} `json:"partition"`
	Offset *struct {
		Offset int64 `json:"kafka_offset"`
	} `json:"offset"`
}

type sinkOffsets struct {
	Offsets []sinkOffset `json:"offsets"`
}

// withOwner runs f on a sink of the connector made for this call. f gets nil if
// the connector's sink keeps no offsets.
func (w *Worker) withOwner(ctx context.Context, name string, f func(PartitionOwner) error) error {
	e, found := w.log.get(name)
	if !found {
		return notFound("Connector " + name + " not found")
	}
	s, err := w.spec(e.config)
	if err != nil {
		return badRequest("%v", err)
	}
	sink, err := s.plugin.NewSink(TaskContext{Connector: name, Values: s.values, Logger: w.logger.With("connector", name)})
	if err != nil {
		return err
	}
	owner, keeps := sink.(PartitionOwner)
	if !keeps {
		return f(nil)
	}
	if err := sink.Start(ctx); err != nil {
		return err
	}
	err = f(owner)
	return errors.Join(err, sink.Stop(ctx))
}

func (w *Worker) getOffsets(ctx context.Context, r *http.Request) (answer, error) {
	name := r.PathValue("name")
	offsets := make(map[TopicPartition]int64)
	err := w.withOwner(ctx, name, func(owner PartitionOwner) (err error) {
		if owner != nil {
			offsets, err = owner.Offsets(ctx)
			return err
		}
		committed, err := kadm.NewClient(w.admin).FetchOffsets(ctx, "connect-"+name)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		committed.Each(func(o kadm.OffsetResponse) { offsets[TopicPartition{o.Topic, o.Partition}] = o.At })
		return err
	})
	if err != nil {
		return answer{}, err
	}
	out := sinkOffsets{Offsets: []sinkOffset{}}
	for tp, at := range offsets {
		var o sinkOffset
		o.Partition.Topic, o.Partition.Partition = tp.Topic, tp.Partition
		o.Offset = &struct {
			Offset int64 `json:"kafka_offset"`
		}{at}
		out.Offsets = append(out.Offsets, o)
	}
	slices.SortFunc(out.Offsets, func(a, b sinkOffset) int {
		if c := strings.Compare(a.Partition.Topic, b.Partition.Topic); c != 0 {
			return c
		}
		return int(a.Partition.Partition - b.Partition.Partition)
	})
	return ok(out)
}

func (w *Worker) patchOffsets(ctx context.Context, r *http.Request) (answer, error) {
	var body sinkOffsets
	if err := read(r, &body, wantOffsets); err != nil {
		return answer{}, err
	}
	if len(body.Offsets) == 0 {
		return answer{}, badRequest("Partitions / offsets need to be provided for an alter offsets request")
	}
	changes := make(map[TopicPartition]int64)
	for _, o := range body.Offsets {
		if o.Partition.Topic == "" || o.Partition.Partition < 0 || (o.Offset != nil && o.Offset.Offset < 0) {
			return answer{}, badRequest(`each entry is {"partition":{"kafka_topic":…,"kafka_partition":…},"offset":{"kafka_offset":…}}, or with "offset":null to start anew`)
		}
		at := int64(-1)
		if o.Offset != nil {
			at = o.Offset.Offset
		}
		changes[TopicPartition{o.Partition.Topic, o.Partition.Partition}] = at
	}
	if err := w.changeOffsets(ctx, r.PathValue("name"), func(map[TopicPartition]int64) map[TopicPartition]int64 { return changes }); err != nil {
		return answer{}, err
	}
	return ok(map[string]string{"message": "The offsets for this connector have been altered successfully"})
}

func (w *Worker) deleteOffsets(ctx context.Context, r *http.Request) (answer, error) {
	err := w.changeOffsets(ctx, r.PathValue("name"), func(stored map[TopicPartition]int64) map[TopicPartition]int64 {
		for tp := range stored {
			stored[tp] = -1
		}
		return stored
	})
	if err != nil {
		return answer{}, err
	}
	return ok(map[string]string{"message": "The offsets for this connector have been reset successfully"})
}

// changeOffsets changes the sink's own offsets, which rule, and the group's,
// which tools show.
func (w *Worker) changeOffsets(ctx context.Context, name string, change func(map[TopicPartition]int64) map[TopicPartition]int64) error {
	e, found := w.log.get(name)
	if !found {
		return notFound("Connector " + name + " not found")
	}
	c := w.connector(name)
	if e.target != Stopped || c == nil || c.status().Connector.State != StateStopped {
		return badRequest("Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/%s/stop' endpoint", name)
	}
	group := "connect-" + name
	adm := kadm.NewClient(w.admin)
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return Retriable(err)
	}
	if n := len(described[group].Members); n > 0 {
		return badRequest("another worker still runs %d task(s) of the connector; try again in a few seconds", n)
	}
	return w.withOwner(ctx, name, func(owner PartitionOwner) error {
		current := make(map[TopicPartition]int64)
		committed, err := adm.FetchOffsets(ctx, group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return Retriable(fmt.Errorf("fetch offsets of group %s: %w", group, err))
		}
		committed.Each(func(o kadm.OffsetResponse) { current[TopicPartition{o.Topic, o.Partition}] = o.At })
		if owner != nil {
			stored, err := owner.Offsets(ctx)
			if err != nil {
				return err
			}
			for tp, at := range stored {
				current[tp] = at
			}
		}
		changes := change(current)
		if owner != nil {
			if err := owner.SetOffsets(ctx, changes); err != nil {
				return err
			}
		}
		set, forget := make(kadm.Offsets), make(kadm.TopicsSet)
		for tp, at := range changes {
			if at < 0 {
				forget.Add(tp.Topic, tp.Partition)
			} else {
				set.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: at, LeaderEpoch: -1, Metadata: commitMark})
			}
		}
		if len(set) > 0 {
			if err := adm.CommitAllOffsets(ctx, group, set); err != nil {
				return Retriable(err)
			}
		}
		if len(forget) > 0 {
			if _, err := adm.DeleteOffsets(ctx, group, forget); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
				return Retriable(err)
			}
		}
		return nil
	})
}

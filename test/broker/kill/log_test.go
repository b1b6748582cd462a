package kill

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

const (
	uncommitted = int8(0)
	committed   = int8(1)
)

// value is a record's content: its identity, a checksum, and filling.
func value(id uint64, size int) []byte {
	b := make([]byte, 12+size)
	binary.BigEndian.PutUint64(b, id)
	for i := 12; i < len(b); i++ {
		b[i] = byte(id) + byte(i)
	}
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[12:])^uint32(id))
	return b
}

// identity is the reverse of value; 0 if the content is not what was written.
func identity(b []byte) uint64 {
	if len(b) < 12 {
		return 0
	}
	id := binary.BigEndian.Uint64(b)
	if binary.BigEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[12:])^uint32(id) {
		return 0
	}
	return id
}

// read gives fn every record of a partition from an offset to its end as it
// stands when read begins, markers included, and returns where it ended.
func read(ctx context.Context, conn *wire.Conn, topic string, partition int32, from int64, isolation int8, fn func(*kgo.Record)) (next int64, err error) {
	_, end, err := bounds(ctx, conn, topic, partition, isolation)
	if err != nil {
		return from, err
	}
	level := kgo.ReadUncommitted()
	if isolation == committed {
		level = kgo.ReadCommitted()
	}
	for idle := 0; from < end; {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 12, -1, 100, 1, 8<<20
		req.IsolationLevel, req.SessionEpoch = isolation, -1
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, from, 4<<20
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.Partitions = topic, append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		answer, err := conn.Do(ctx, req)
		if err != nil {
			return from, err
		}
		resp := answer.(*kmsg.FetchResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return from, fmt.Errorf("fetch %s/%d at %d: no answer: %v", topic, partition, from, kerr.ErrorForCode(resp.ErrorCode))
		}
		got, at := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, Offset: from, IsolationLevel: level, Topic: topic, Partition: partition},
			&resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
		if got.Err != nil {
			return from, fmt.Errorf("fetch %s/%d at %d: %w", topic, partition, from, got.Err)
		}
		for _, r := range got.Records {
			fn(r)
		}
		if idle++; at > from {
			from, idle = at, 0
		}
		if idle == 50 {
			return from, fmt.Errorf("fetch %s/%d at %d gives nothing, though the end is %d", topic, partition, from, end)
		}
	}
	return from, nil
}

// bounds are a partition's first offset and its end.
func bounds(ctx context.Context, conn *wire.Conn, topic string, partition int32, isolation int8) (start, end int64, err error) {
	for _, q := range []struct {
		at  int64
		out *int64
	}{{-2, &start}, {-1, &end}} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.ReplicaID, req.IsolationLevel = 6, -1, isolation
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, q.at, -1
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic, t.Partitions = topic, append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		answer, err := conn.Do(ctx, req)
		if err != nil {
			return 0, 0, err
		}
		got := answer.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return 0, 0, fmt.Errorf("offsets of %s/%d: %w", topic, partition, err)
		}
		*q.out = got.Offset
	}
	return start, end, nil
}

// where is a place in a topic.
type where struct {
	partition int32
	offset    int64
}

// topicLog is what is known of a topic: what was acknowledged, and what stood
// when it was read.
type topicLog struct {
	run  *run
	name string
	// dupes says of which fault a record that stands twice is.
	dupes fault
	// transactional records may be acknowledged a moment before they can be read:
	// those beyond the end are held against the next reading, or the last one.
	transactional bool

	mu     sync.Mutex
	acked  []ack            // not yet held against what stands
	all    []ack            // everything acknowledged
	next   map[int32]int64  // up to where it was read
	stands map[where]uint64 // identities
	seen   map[uint64]where
}

type ack struct {
	at where
	id uint64
}

func newTopicLog(r *run, name string, partitions int32, dupes fault) *topicLog {
	l := &topicLog{run: r, name: name, dupes: dupes}
	l.forget(partitions)
	return l
}

// forget makes the next reading begin at the start.
func (l *topicLog) forget(partitions int32) {
	l.next, l.stands, l.seen = map[int32]int64{}, map[where]uint64{}, map[uint64]where{}
	for p := range partitions {
		l.next[p] = 0
	}
}

// ack notes that a record was acknowledged. An offset below 0 is unknown.
func (l *topicLog) ack(partition int32, offset int64, id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := ack{where{partition, offset}, id}
	l.acked, l.all = append(l.acked, a), append(l.all, a)
}

// check reads what is new and holds the acknowledged records against it; with
// again it begins at the start.
func (l *topicLog) check(ctx context.Context, again bool) error {
	conn, err := wire.Dial(ctx, l.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	l.mu.Lock()
	acked := l.acked
	l.acked = nil
	if again {
		acked = l.all
	}
	l.mu.Unlock()
	before := l.stands
	if again {
		l.forget(int32(len(l.next)))
	}
	for p, from := range l.next {
		next, err := read(ctx, conn, l.name, p, from, uncommitted, func(r *kgo.Record) { l.stood(r) })
		if err != nil {
			return err
		}
		l.next[p] = next
	}
	for at, id := range before {
		if now, ok := l.stands[at]; again && ok && now != id {
			l.run.tally.fault(missing, "%s/%d at %d: record %x was read there before, now %x", l.name, at.partition, at.offset, id, now)
		}
	}
	if l.transactional && !again {
		acked = l.putOff(acked)
	}
	l.judge(acked)
	return nil
}

// putOff keeps what was acknowledged beyond the end for later.
func (l *topicLog) putOff(acked []ack) (now []ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range acked {
		if a.at.offset >= l.next[a.at.partition] {
			l.acked = append(l.acked, a)
		} else {
			now = append(now, a)
		}
	}
	return now
}

// stood notes a record that was read.
func (l *topicLog) stood(r *kgo.Record) {
	if r.Attrs.IsControl() {
		return
	}
	at, id := where{r.Partition, r.Offset}, identity(r.Value)
	l.stands[at] = id
	if first, ok := l.seen[id]; ok && first != at {
		l.run.tally.fault(l.dupes, "%s: record %x stands at %v and %v", l.name, id, first, at)
		return
	}
	l.seen[id] = at
}

// judge holds acknowledged records against what stands.
func (l *topicLog) judge(acked []ack) {
	for _, a := range acked {
		switch at, ok := l.seen[a.id]; {
		case a.at.offset >= 0 && l.stands[a.at] != a.id:
			l.run.tally.fault(missing, "%s/%d at %d: record %x was acknowledged there, %x stands there (the log was read to %d)", l.name, a.at.partition, a.at.offset, a.id, l.stands[a.at], l.next[a.at.partition])
		case !ok || at.partition != a.at.partition:
			l.run.tally.fault(missing, "%s/%d: record %x was acknowledged and is nowhere", l.name, a.at.partition, a.id)
		}
	}
}

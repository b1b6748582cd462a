package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// offsets commits offsets of groups without members: what was acknowledged
// stands until the next commit.
type offsets struct {
	run *run
	rng *rand.Rand

	mu       sync.Mutex
	sequence int64
	// possible are the offsets that may stand: the last acknowledged one, and
	// those sent since whose outcome is unknown.
	possible map[groupPartition][]int64
}

type groupPartition struct {
	group     int
	partition int32
}

const (
	offsetsTopic      = "offsets"
	offsetsGroups     = 5
	offsetsPartitions = 3
)

func newOffsets(r *run, seed uint64) *offsets {
	a := &offsets{run: r, rng: source(seed, "offsets"), possible: map[groupPartition][]int64{}}
	for g := range offsetsGroups {
		for p := range int32(offsetsPartitions) {
			a.possible[groupPartition{g, p}] = []int64{-1}
		}
	}
	return a
}

func (a *offsets) prepare(ctx context.Context) error {
	if err := a.run.coordinated(ctx, 0); err != nil {
		return err
	}
	return a.run.create(ctx, offsetsTopic, offsetsPartitions)
}

func (a *offsets) work(ctx context.Context) { a.run.steps(ctx, 5*time.Millisecond, a.commit) }

func groupName(g int) string { return fmt.Sprint("offsets-", g) }

func (a *offsets) commit(ctx context.Context, conn *wire.Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := groupPartition{a.rng.IntN(offsetsGroups), int32(a.rng.IntN(offsetsPartitions))}
	a.sequence++
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 7, groupName(at.group), -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	text := fmt.Sprint(a.sequence)
	p.Partition, p.Offset, p.Metadata, p.LeaderEpoch = at.partition, a.sequence, &text, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = offsetsTopic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	a.possible[at] = append(a.possible[at], a.sequence)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	if err := refusal("commit offset", answer.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode); err != nil {
		return err
	}
	a.possible[at] = []int64{a.sequence}
	a.run.tally.did("offset commits", 1)
	return nil
}

func (a *offsets) check(ctx context.Context, _ bool) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, possible := range a.possible {
		var got kmsg.OffsetFetchResponseTopicPartition
		if err := until(ctx, func() (err error) { got, err = fetchOffset(ctx, conn, at); return err }); err != nil {
			return err
		}
		if !slices.Contains(possible, got.Offset) {
			a.run.tally.fault(position, "group %s, partition %d: %d stands, %v may", groupName(at.group), at.partition, got.Offset, possible)
		}
		if text := fmt.Sprint(got.Offset); got.Offset >= 0 && (got.Metadata == nil || *got.Metadata != text) {
			a.run.tally.fault(position, "group %s, partition %d: the metadata of %d is lost", groupName(at.group), at.partition, got.Offset)
		}
		a.possible[at] = []int64{got.Offset}
	}
	return nil
}

func fetchOffset(ctx context.Context, conn *wire.Conn, at groupPartition) (got kmsg.OffsetFetchResponseTopicPartition, err error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group, req.RequireStable = 7, groupName(at.group), true
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic, t.Partitions = offsetsTopic, []int32{at.partition}
	req.Topics = append(req.Topics, t)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return got, err
	}
	resp := answer.(*kmsg.OffsetFetchResponse)
	if err := refusal("fetch offsets", resp.ErrorCode); err != nil {
		return got, err
	}
	got = resp.Topics[0].Partitions[0]
	return got, refusal("fetch offset", got.ErrorCode)
}

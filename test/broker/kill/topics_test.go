package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// topics makes, changes, fills and deletes topics: they are there, with their
// partitions, configuration and records, as acknowledged; a topic made anew has
// nothing of the former one of its name.
type topics struct {
	run *run
	rng *rand.Rand

	mu    sync.Mutex
	lives uint64 // a number for each topic made
	all   []*named
}

// named is a name and what may stand behind it.
type named struct {
	name     string
	possible []shape
	// Of the topic that stands, if one does: its life, and its acknowledged
	// records, by partition and offset.
	life  uint64
	wrote uint64
	acked map[where]uint64
}

// shape is a topic as clients see it; without partitions there is none.
type shape struct {
	partitions int32
	retention  string
}

func newTopics(r *run, seed uint64) *topics {
	a := &topics{run: r, rng: source(seed, "topics")}
	for n := range 6 {
		a.all = append(a.all, &named{name: fmt.Sprint("topic-", n), possible: []shape{{}}})
	}
	return a
}

func (a *topics) prepare(context.Context) error { return nil }

func (a *topics) work(ctx context.Context) { a.run.steps(ctx, 15*time.Millisecond, a.step) }

// step does one thing to one topic.
func (a *topics) step(ctx context.Context, conn *wire.Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.all[a.rng.IntN(len(a.all))]
	if len(n.possible) > 1 {
		return a.look(ctx, conn, n)
	}
	now := n.possible[0]
	var after shape
	var err error
	switch choice := a.rng.IntN(10); {
	case now.partitions == 0:
		after = shape{1 + int32(a.rng.IntN(3)), a.retention()}
		a.lives++
		n.life, n.wrote, n.acked = a.lives, 0, map[where]uint64{}
		n.possible = append(n.possible, after)
		err = createTopic(ctx, conn, n.name, after.partitions, "retention.ms", after.retention)
	case choice < 6:
		return a.produce(ctx, conn, n, now)
	case choice == 6:
		after = shape{now.partitions, a.retention()}
		n.possible = append(n.possible, after)
		err = alter(ctx, conn, n.name, after.retention)
	case choice == 7 && now.partitions < 6:
		after = shape{now.partitions + 1, now.retention}
		n.possible = append(n.possible, after)
		err = grow(ctx, conn, n.name, after.partitions)
	default:
		n.possible = append(n.possible, after)
		err = deleteTopic(ctx, conn, n.name)
	}
	switch {
	case err == nil:
		n.possible = []shape{after}
		a.run.tally.did("changes of topics", 1)
	case refused(err):
		a.run.tally.fault(topic, "%s, of which %+v was acknowledged: %v", n.name, now, err)
	}
	return err
}

func (a *topics) retention() string { return strconv.Itoa(1_000_000_000 + a.rng.IntN(1_000_000)) }

func (a *topics) produce(ctx context.Context, conn *wire.Conn, n *named, now shape) error {
	n.wrote++
	id := n.life<<24 | n.wrote
	p := int32(a.rng.IntN(int(now.partitions)))
	answer, err := conn.Do(ctx, wire.Produce(7, n.name, p, wire.New(value(id, a.rng.IntN(100))).Encode()))
	if err != nil {
		return err
	}
	got := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if err := refusal("produce to "+n.name, got.ErrorCode); err != nil {
		a.run.tally.fault(topic, "%s, of which %+v was acknowledged: %v", n.name, now, err)
		return err
	}
	n.acked[where{p, got.BaseOffset}] = id
	a.run.tally.did("records of topics that come and go", 1)
	return nil
}

func alter(ctx context.Context, conn *wire.Conn, name, retention string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 0
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "retention.ms", &retention
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.Configs = kmsg.ConfigResourceTypeTopic, name, append(res.Configs, c)
	req.Resources = append(req.Resources, res)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("alter "+name, answer.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
}

func grow(ctx context.Context, conn *wire.Conn, name string, partitions int32) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version, req.TimeoutMillis = 1, 10_000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = name, partitions
	req.Topics = append(req.Topics, t)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("add partitions to "+name, answer.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode)
}

func deleteTopic(ctx context.Context, conn *wire.Conn, name string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = 4, 10_000, []string{name}
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	return refusal("delete "+name, answer.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode)
}

// look sees what stands behind a name.
func (a *topics) look(ctx context.Context, conn *wire.Conn, n *named) error {
	got, err := see(ctx, conn, n.name)
	if err != nil {
		return err
	}
	if !slices.Contains(n.possible, got) {
		a.run.tally.fault(topic, "%s is %+v, of these one was acknowledged: %+v", n.name, got, n.possible)
	}
	n.possible = []shape{got}
	return nil
}

func see(ctx context.Context, conn *wire.Conn, name string) (shape, error) {
	m := kmsg.NewPtrMetadataRequest()
	m.Version = 7
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	m.Topics = append(m.Topics, t)
	answer, err := conn.Do(ctx, m)
	if err != nil {
		return shape{}, err
	}
	told := answer.(*kmsg.MetadataResponse).Topics[0]
	if err := refusal("see "+name, told.ErrorCode); errors.Is(err, kerr.UnknownTopicOrPartition) {
		return shape{}, nil
	} else if err != nil {
		return shape{}, err
	}
	d := kmsg.NewPtrDescribeConfigsRequest()
	d.Version = 1
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"retention.ms"}
	d.Resources = append(d.Resources, res)
	if answer, err = conn.Do(ctx, d); err != nil {
		return shape{}, err
	}
	described := answer.(*kmsg.DescribeConfigsResponse).Resources[0]
	if err := refusal("describe "+name, described.ErrorCode); err != nil {
		return shape{}, err
	}
	s := shape{partitions: int32(len(told.Partitions))}
	for _, c := range described.Configs {
		if c.Name == "retention.ms" && c.Value != nil {
			s.retention = *c.Value
		}
	}
	return s, nil
}

func (a *topics) check(ctx context.Context, _ bool) error {
	conn, err := wire.Dial(ctx, a.run.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.all {
		if err := a.look(ctx, conn, n); err != nil {
			return err
		}
		stands := map[where]uint64{}
		for p := range n.possible[0].partitions {
			_, err := read(ctx, conn, n.name, p, 0, uncommitted, func(r *kgo.Record) {
				id := identity(r.Value)
				stands[where{p, r.Offset}] = id
				if id>>24 != n.life {
					a.run.tally.fault(topic, "%s/%d at %d: record %x is of a former topic of this name, or damaged", n.name, p, r.Offset, id)
				}
			})
			if err != nil {
				return err
			}
		}
		for at, id := range n.acked {
			if n.possible[0].partitions > 0 && stands[at] != id {
				a.run.tally.fault(missing, "%s/%d at %d: record %x was acknowledged there, %x stands there", n.name, at.partition, at.offset, id, stands[at])
			}
		}
	}
	return nil
}

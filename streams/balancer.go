package streams

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// protocolName is the group protocol of stream Apps. It is our own, so that a
// console consumer started with our group is refused by the broker
// (INCONSISTENT_GROUP_PROTOCOL) instead of being given a partition.
const protocolName = "comptoir-streams"

// balancer hands out tasks: partition p of every topic goes to one member. It is
// cooperative: a task that moves is given up by its owner before another gets
// it, and all others go on meanwhile. Members keep what they own as long as the
// load stays even.
//
// A member that was put out of its group owns nothing when it joins again, as
// after the death of the broker that coordinated the group, when all of them are
// out at once. It then says what it had, and gets that back unless another member
// has it now: its local state is up to date.
//
// So does one that the group has forgotten without its knowing. franz-go would
// have it claim, under its new name, what it was given under the old one, and as
// of a generation whose share it may never have seen: the claim would take a task
// from whoever got it meanwhile, without a revocation.
//
// It is safe for concurrent use.
type balancer struct {
	member func() string // who we are to the group now

	mu    sync.Mutex
	given string             // who we were when we were given what we own
	lost  map[string][]int32 // what the group took from us last, by topic, if it has given us nothing since
}

var _ kgo.GroupBalancer = (*balancer)(nil)
var _ kgo.HookNewClient = (*balancer)(nil)

// OnNewClient has the balancer look at the group through its client.
func (b *balancer) OnNewClient(cl *kgo.Client) {
	b.member = func() string {
		id, _ := cl.GroupMetadata()
		return id
	}
}

// hadLost notes what the group took from us because it had not heard of us; nil
// for nothing any more.
func (b *balancer) hadLost(partitions map[string][]int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = partitions
}

func (*balancer) ProtocolName() string { return protocolName }
func (*balancer) IsCooperative() bool  { return true }

func (b *balancer) JoinGroupMetadata(interests []string, owned map[string][]int32, generation int32) []byte {
	b.mu.Lock()
	had := b.lost
	if b.member() != b.given && len(owned) > 0 {
		had, owned = owned, nil
	}
	b.mu.Unlock()
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = interests
	meta.Generation = generation
	topics := make([]string, 0, len(owned))
	for t := range owned {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	for _, t := range topics {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = t, owned[t]
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	if len(owned) == 0 && len(had) > 0 {
		wish := kmsg.NewStickyMemberMetadata()
		for topic, ps := range had {
			a := kmsg.NewStickyMemberMetadataCurrentAssignment()
			a.Topic, a.Partitions = topic, ps
			wish.CurrentAssignment = append(wish.CurrentAssignment, a)
		}
		meta.UserData = wish.AppendTo(nil)
	}
	return meta.AppendTo(nil)
}

// ParseSyncAssignment is asked when the group has given us our share.
func (b *balancer) ParseSyncAssignment(share []byte) (map[string][]int32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given = b.member()
	return kgo.ParseConsumerSyncAssignment(share)
}

func (*balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(assigner{}, members)
	if err != nil {
		return nil, nil, err
	}
	return b, b.MemberTopics(), nil
}

type assigner struct{}

// Balance gives each member the tasks it owns, up to an even share, then those
// that it had, and the others to whoever has least.
func (assigner) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	var tasks int32
	for _, n := range topics {
		tasks = max(tasks, n)
	}
	members := b.Members()
	owner := shares(tasks, ownedTasks(b, len(members)), formerTasks(b, len(members)))
	plan := b.NewPlan()
	for topic, n := range topics {
		for p := range n {
			plan.AddPartition(&members[owner[p]], topic, p)
		}
	}
	plan.AdjustCooperative(b)
	return plan
}

// ownedTasks returns the tasks that each member says it owns. Of two that claim
// one, the claim of the higher generation counts.
func ownedTasks(b *kgo.ConsumerBalancer, n int) [][]int32 {
	type claim struct {
		member     int
		generation int32
	}
	claims := map[int32]claim{}
	for i := range n {
		_, meta := b.MemberAt(i)
		for _, o := range meta.OwnedPartitions {
			for _, p := range o.Partitions {
				if c, ok := claims[p]; !ok || meta.Generation > c.generation {
					claims[p] = claim{i, meta.Generation}
				}
			}
		}
	}
	owned := make([][]int32, n)
	for p, c := range claims {
		owned[c.member] = append(owned[c.member], p)
	}
	for _, o := range owned {
		slices.Sort(o)
	}
	return owned
}

// formerTasks returns the tasks that each member says it had. What cannot be read
// counts for nothing: it is a wish.
func formerTasks(b *kgo.ConsumerBalancer, n int) [][]int32 {
	former := make([][]int32, n)
	for i := range n {
		_, meta := b.MemberAt(i)
		var had kmsg.StickyMemberMetadata
		if len(meta.UserData) == 0 || had.ReadFrom(meta.UserData) != nil {
			continue
		}
		for _, a := range had.CurrentAssignment {
			former[i] = append(former[i], a.Partitions...)
		}
		slices.Sort(former[i])
		former[i] = slices.Compact(former[i])
	}
	return former
}

// shares returns the owner of each task: every member keeps what it owns up to
// an even share (rounded up for as many members as the remainder allows), then
// what it had before, and the rest goes to the least loaded, the first of them at
// a tie.
func shares(tasks int32, owned, former [][]int32) []int {
	n := len(owned)
	owner := make([]int, tasks)
	for p := range owner {
		owner[p] = -1
	}
	load := make([]int, n)
	least, extra := int(tasks)/n, int(tasks)%n
	for _, claims := range [][][]int32{owned, former} {
		for i, ps := range claims {
			for _, p := range ps {
				if p < 0 || p >= tasks || owner[p] >= 0 {
					continue
				}
				if load[i] == least {
					if extra == 0 {
						break
					}
					extra--
				} else if load[i] > least {
					break
				}
				owner[p] = i
				load[i]++
			}
		}
	}
	for p := range owner {
		if owner[p] >= 0 {
			continue
		}
		i := 0
		for j := range load {
			if load[j] < load[i] {
				i = j
			}
		}
		owner[p] = i
		load[i]++
	}
	return owner
}

package streams

import (
	"cmp"
	"hash/fnv"
	"maps"
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
// The leader also says who keeps copies of which tasks' state (see copies.go). A
// member whose copies are up to date says so, and gets those tasks when they have
// no owner.
//
// It is safe for concurrent use.
type balancer struct {
	member    func() string       // who we are to the group now
	standby   func(tasks []int32) // is told what the group wants us to have copies of
	copies    int                 // of each task's state, that others than its owner keep
	changelog string              // by which name they go

	mu    sync.Mutex
	kept  []int32            // tasks that we keep copies of
	warm  []int32            // those of them that are up to date
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

// keepsOf says of which tasks copies are kept from now on: others are not up to
// date any more.
func (b *balancer) keepsOf(tasks []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept, b.warm = tasks, both(b.warm, tasks)
}

// keeps notes of which tasks copies are up to date. Those count that are still
// kept: who says so may have been told to end meanwhile.
func (b *balancer) keeps(tasks []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warm = both(tasks, b.kept)
}

// both returns the tasks that are in both.
func both(some, others []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(some), func(p int32) bool { return !slices.Contains(others, p) })
}

func (*balancer) ProtocolName() string { return protocolName }
func (*balancer) IsCooperative() bool  { return true }

func (b *balancer) JoinGroupMetadata(interests []string, owned map[string][]int32, generation int32) []byte {
	b.mu.Lock()
	had, warm := b.lost, b.warm
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
	wishes := map[string][]int32{}
	if len(owned) == 0 {
		maps.Copy(wishes, had)
	}
	if len(warm) > 0 {
		wishes[b.changelog] = warm
	}
	meta.UserData = appendTasks(wishes)
	return meta.AppendTo(nil)
}

// ParseSyncAssignment is asked when the group has given us our share.
func (b *balancer) ParseSyncAssignment(share []byte) (map[string][]int32, error) {
	b.mu.Lock()
	b.given = b.member()
	b.mu.Unlock()
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(share); err == nil {
		b.standby(parseTasks(a.UserData))
	}
	return kgo.ParseConsumerSyncAssignment(share)
}

func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	cb, err := kgo.NewConsumerBalancer(assigner{b.copies, b.changelog}, members)
	if err != nil {
		return nil, nil, err
	}
	return cb, cb.MemberTopics(), nil
}

// assigner hands out tasks, and copies of each one's state to so many others.
type assigner struct {
	copies    int
	changelog string
}

// Balance gives each member the tasks it owns, up to an even share, then those
// that it had, and the others to whoever has least.
func (a assigner) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	var tasks int32
	for _, n := range topics {
		tasks = max(tasks, n)
	}
	n := len(b.Members())
	first := a.first(n)
	members, former := turned(b.Members(), first), turned(formerTasks(b, n), first)
	owner := shares(tasks, turned(ownedTasks(b, n), first), former)
	plan := b.NewPlan()
	for topic, n := range topics {
		for p := range n {
			plan.AddPartition(&members[owner[p]], topic, p)
		}
	}
	plan.AdjustCooperative(b)
	kept := map[string][]int32{}
	for i, ps := range standbys(a.copies, owner, former) {
		if len(ps) > 0 {
			kept[members[i].MemberID] = ps
		}
	}
	return assignment{plan, a.changelog, kept}
}

// first is the member that is given what all are as good for. Each group has its
// own: the members of all of them are the same instances in the same order, and the
// tasks of one that is gone, or those that do not divide, would all go to one.
func (a assigner) first(n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(a.changelog)) // never fails
	return int(h.Sum32() % uint32(n))
}

// turned is list from its element first on, then those before it.
func turned[E any](list []E, first int) []E {
	return slices.Concat(list[first:], list[:first])
}

// assignment is what the leader gives to the members: their share, and in its user
// data the tasks of which they keep copies.
type assignment struct {
	plan      *kgo.BalancePlan
	changelog string
	copies    map[string][]int32 // by member
}

func (a assignment) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	all := a.plan.IntoSyncAssignment()
	for i := range all {
		ps := a.copies[all[i].MemberID]
		var share kmsg.ConsumerMemberAssignment
		if len(ps) == 0 || share.ReadFrom(all[i].MemberAssignment) != nil {
			continue
		}
		share.UserData = appendTasks(map[string][]int32{a.changelog: ps})
		all[i].MemberAssignment = share.AppendTo(nil)
	}
	return all
}

// appendTasks encodes tasks by the topics that they are known by, as user data of
// the group protocol; nil if there are none. parseTasks reads what it can of it.
func appendTasks(byTopic map[string][]int32) []byte {
	if len(byTopic) == 0 {
		return nil
	}
	data := kmsg.NewStickyMemberMetadata()
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		a := kmsg.NewStickyMemberMetadataCurrentAssignment()
		a.Topic, a.Partitions = topic, byTopic[topic]
		data.CurrentAssignment = append(data.CurrentAssignment, a)
	}
	return data.AppendTo(nil)
}

func parseTasks(data []byte) (tasks []int32) {
	var read kmsg.StickyMemberMetadata
	if len(data) == 0 || read.ReadFrom(data) != nil {
		return nil
	}
	for _, a := range read.CurrentAssignment {
		tasks = append(tasks, a.Partitions...)
	}
	slices.Sort(tasks)
	return slices.Compact(tasks)
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

// formerTasks returns the tasks that each member says it had or has a copy of. What cannot be read
// counts for nothing: it is a wish.
func formerTasks(b *kgo.ConsumerBalancer, n int) [][]int32 {
	former := make([][]int32, n)
	for i := range n {
		_, meta := b.MemberAt(i)
		former[i] = parseTasks(meta.UserData)
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

// standbys returns the tasks of whose state each member keeps a copy: n members
// for each task, or as many as there are besides its owner. Those that have one
// already come first, then those with the least to do.
func standbys(n int, owner []int, former [][]int32) [][]int32 {
	kept := make([][]int32, len(former))
	load := make([]int, len(former))
	for _, i := range owner {
		load[i]++
	}
	for p, of := range owner {
		var others []int
		for i := range former {
			if i != of {
				others = append(others, i)
			}
		}
		has := func(i int) int {
			if slices.Contains(former[i], int32(p)) {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(others, func(a, b int) int {
			return cmp.Or(has(a)-has(b), load[a]-load[b])
		})
		for _, i := range others[:min(n, len(others))] {
			kept[i] = append(kept[i], int32(p))
			load[i]++
		}
	}
	return kept
}

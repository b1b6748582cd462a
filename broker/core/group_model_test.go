package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestGroupModel lets random members join, work, die, come back, and speak with
// the ids and generations of the dead, while the broker is killed now and then.
// What they are answered is held against what the protocol promises: see oracle.
func TestGroupModel(t *testing.T) {
	steps := 50_000
	if s := os.Getenv("COMPTOIR_TEST_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		steps = n
	}
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			newGroupModel(t, seed).run(steps)
		})
	}
}

// oracle is what must be true of a group, from all that was answered.
//
//   - Generations only rise, restarts or not, and all members of one are told the
//     same leader and protocol.
//   - A member's share in a generation is the one that its leader gave it.
//   - Nothing is accepted from a former self, from one that left, from before a
//     restart, or from an old generation.
//   - Every request is answered in time (see checkWaits), and members who behave
//     all get shares (see calm).
//   - Offsets are those that were last acknowledged, restarts or not.
type oracle struct {
	newest      int32 // generation, 0 if there was none since the group was deleted
	before      int32 // the newest before the last start
	generations map[int32]*oracleGeneration
	out         map[string]bool // ids that nothing may be accepted from
	ids         map[string]bool // ids that members had since the last start
	offsets     map[int32]int64 // partition of "t": offset
}

// who is the member behind an id: a static one has many.
func who(id string) string {
	if strings.HasPrefix(id, "static") {
		id, _, _ = strings.Cut(id, "-")
	}
	return id
}

type oracleGeneration struct {
	leader   string // as who
	protocol string
	told     map[string]bool   // ids that know of it
	shares   map[string]string // by who, once the leader has shared out
}

type actor struct {
	name      string
	instance  *string
	version   int16
	protocols []string
	session   time.Duration
	rebalance time.Duration

	alive      bool
	id         string
	generation int32 // 0 before it has joined
	share      *string
	others     []string // the members, if it is to share out
	waits      *call
}

type groupModel struct {
	*groupRig
	rnd    *rand.Rand
	actors []*actor
	oracle oracle
	// open are the requests that nobody has looked at the answers of.
	open []*call
	// spoken are ids and generations that were once somebody's.
	spoken []spoken
	shares int // how often a member got one
	starts int
}

type spoken struct {
	id         string
	instance   *string
	generation int32
}

func newGroupModel(t *testing.T, seed uint64) *groupModel {
	m := &groupModel{groupRig: newGroupRig(t), rnd: rand.New(rand.NewPCG(seed, 1))}
	m.oracle.offsets = map[int32]int64{}
	m.forget()
	for i := range 8 {
		a := &actor{
			name: fmt.Sprint("m", i), version: int16(m.rnd.IntN(10)),
			protocols: []string{"range"},
			session:   time.Duration(6+m.rnd.IntN(20)) * time.Second,
			rebalance: time.Duration(5+m.rnd.IntN(25)) * time.Second,
		}
		if i >= 4 {
			// The last two want to be the same.
			name := fmt.Sprint("static", min(i, 6))
			a.instance, a.version = &name, int16(5+m.rnd.IntN(5))
		}
		m.actors = append(m.actors, a)
	}
	return m
}

// forget is what a restart does to what is known of members.
func (m *groupModel) forget() {
	for id := range m.oracle.ids {
		m.oracle.out[id] = true
	}
	if m.oracle.out == nil || len(m.oracle.out) > 1000 {
		m.oracle.out = map[string]bool{}
		m.spoken = nil
	}
	m.oracle.before, m.oracle.generations, m.oracle.ids = m.oracle.newest, map[int32]*oracleGeneration{}, map[string]bool{}
}

func (m *groupModel) run(steps int) {
	for range steps {
		m.pass(time.Duration(m.rnd.ExpFloat64() * float64(300*time.Millisecond)))
		m.checkWaits()
		a := m.actors[m.rnd.IntN(len(m.actors))]
		switch n := m.rnd.IntN(1000); {
		case n < 2:
			m.restart()
		case n < 4:
			m.calm()
		case n < 15:
			m.kill(a)
		case n < 100:
			if !a.alive {
				a.alive, a.id, a.generation, a.share, a.waits = true, "", 0, nil, nil
				a.protocols = [][]string{{"range"}, {"range", "sticky"}, {"sticky", "range"}}[m.rnd.IntN(3)]
			}
		case n < 160:
			m.ghost()
		case n < 180:
			m.leave(a)
		case n < 200:
			m.simple()
		case n < 230:
			m.fetch()
		default:
			m.act(a)
		}
	}
	m.calm()
	if m.shares < steps/100 {
		m.t.Errorf("only %d shares were given in %d steps", m.shares, steps)
	}
	m.t.Logf("%d shares, %d starts, generation %d", m.shares, m.starts, m.oracle.newest)
}

func (m *groupModel) kill(a *actor) {
	if a.waits != nil {
		m.open = append(m.open, a.waits)
	}
	a.alive, a.waits = false, nil
}

// restart kills the broker: all connections are lost, and so are all members.
func (m *groupModel) restart() {
	m.starts++
	m.open = nil
	for _, a := range m.actors {
		a.waits = nil
	}
	m.load()
	m.forget()
	m.fetch()
}

// checkWaits holds every request that waits against the longest time it may.
func (m *groupModel) checkWaits() {
	check := func(c *call) bool {
		if !c.answered() && m.now.Sub(c.sent) > 30*time.Second {
			m.t.Fatalf("not answered in %s; group is %s", m.now.Sub(c.sent), m.state())
		}
		return c.answered()
	}
	m.open = slices.DeleteFunc(m.open, check)
	for _, a := range m.actors {
		if a.waits != nil {
			check(a.waits)
		}
	}
}

// act is what a member does next by the protocol.
func (m *groupModel) act(a *actor) {
	switch {
	case !a.alive || a.waits != nil && !a.waits.answered():
	case a.waits != nil:
		resp := a.waits.resp
		a.waits = nil
		switch resp := resp.(type) {
		case *kmsg.JoinGroupResponse:
			m.joinAnswered(a, resp)
		case *kmsg.SyncGroupResponse:
			m.syncAnswered(a, resp)
		}
	case a.generation == 0:
		m.sendJoin(a)
	case a.share == nil:
		m.sendSync(a)
	default:
		m.work(a)
	}
}

func (m *groupModel) sendJoin(a *actor) {
	req := joinRequest(a.id, a.instance, a.protocols...)
	req.Version = a.version
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(a.session.Milliseconds()), int32(a.rebalance.Milliseconds())
	a.waits = m.send(req)
	if a.id == "" && a.instance != nil {
		for id := range m.oracle.ids {
			if who(id) == *a.instance {
				m.oracle.out[id] = true
			}
		}
	}
}

func (m *groupModel) joinAnswered(a *actor, resp *kmsg.JoinGroupResponse) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		m.refused(a, err)
		if err == kerr.MemberIDRequired {
			a.id = resp.MemberID
		}
		return
	}
	a.id, a.generation = resp.MemberID, resp.Generation
	m.told(resp.MemberID, a.instance, resp)
	a.others = nil
	for _, o := range resp.Members {
		if !resp.SkipAssignment {
			a.others = append(a.others, o.MemberID)
		}
	}
}

// told holds an answer to a JoinGroup against the others.
func (m *groupModel) told(id string, instance *string, resp *kmsg.JoinGroupResponse) {
	m.oracle.ids[id] = true
	for _, o := range resp.Members {
		m.oracle.ids[o.MemberID] = true
	}
	m.spoken = append(m.spoken, spoken{id, instance, resp.Generation})
	g := m.oracle.generations[resp.Generation]
	if g == nil {
		g = &oracleGeneration{protocol: *resp.Protocol, told: map[string]bool{}}
		m.oracle.generations[resp.Generation] = g
	}
	g.told[id] = true
	if resp.Generation <= m.oracle.before {
		m.t.Fatalf("generation %d comes after %d", resp.Generation, m.oracle.before)
	}
	m.oracle.newest = max(m.oracle.newest, resp.Generation)
	if g.protocol != *resp.Protocol {
		m.t.Fatalf("generation %d has protocols %q and %q", resp.Generation, g.protocol, *resp.Protocol)
	}
	if resp.LeaderID == id {
		if len(resp.Members) == 0 {
			m.t.Fatalf("leader of generation %d is told of no members", resp.Generation)
		}
		if g.leader != "" && g.leader != who(id) {
			m.t.Fatalf("generation %d has leaders %q and %q", resp.Generation, g.leader, who(id))
		}
		g.leader = who(id)
	} else if resp.LeaderID == "" || len(resp.Members) != 0 {
		m.t.Fatalf("follower is told of leader %q and %d members", resp.LeaderID, len(resp.Members))
	}
	seen := map[string]bool{}
	for _, o := range resp.Members {
		if seen[o.MemberID] || len(o.ProtocolMetadata) == 0 {
			m.t.Fatalf("members are %+v", resp.Members)
		}
		seen[o.MemberID] = true
	}
}

// sendSync asks for a share. The leader shares out all four partitions.
func (m *groupModel) sendSync(a *actor) {
	shares := map[string]string{}
	if len(a.others) > 0 {
		for p := range 4 {
			o := a.others[(p+m.rnd.IntN(2))%len(a.others)]
			shares[o] += strconv.Itoa(p)
		}
	}
	a.waits = m.askShare(spoken{a.id, a.instance, a.generation}, shares)
}

func (m *groupModel) askShare(s spoken, shares map[string]string) *call {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 5, "g", s.id, s.instance, s.generation
	req.ProtocolType, req.Protocol = m.protocol()
	for to, share := range shares {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = to, []byte(share)
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	c := m.send(req)
	if !c.answered() {
		return c
	}
	resp := c.resp.(*kmsg.SyncGroupResponse)
	if g := m.oracle.generations[s.generation]; resp.ErrorCode == 0 && g != nil && g.leader == who(s.id) && g.shares == nil {
		g.shares = map[string]string{}
		for to, share := range shares {
			g.shares[who(to)] = share
		}
	}
	m.gotShare(s, resp)
	return c
}

// gotShare holds a share against what the leader gave.
func (m *groupModel) gotShare(s spoken, resp *kmsg.SyncGroupResponse) {
	if resp.ErrorCode != 0 {
		return
	}
	g := m.oracle.generations[s.generation]
	if g == nil || g.shares == nil {
		m.t.Fatalf("a share of generation %d, which was not shared out", s.generation)
	}
	if want := g.shares[who(s.id)]; string(resp.MemberAssignment) != want {
		m.t.Fatalf("share of %q in generation %d is %q, its leader gave %q", s.id, s.generation, resp.MemberAssignment, want)
	}
	m.shares++
}

func (m *groupModel) syncAnswered(a *actor, resp *kmsg.SyncGroupResponse) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		m.refused(a, err)
		return
	}
	m.gotShare(spoken{a.id, a.instance, a.generation}, resp)
	share := string(resp.MemberAssignment)
	a.share = &share
}

// refused is what a member does when it is told no.
func (m *groupModel) refused(a *actor, err error) {
	a.generation, a.share = 0, nil
	switch err {
	case kerr.RebalanceInProgress, kerr.IllegalGeneration:
	case kerr.UnknownMemberID, kerr.MemberIDRequired, kerr.GroupIDNotFound:
		a.id = ""
	case kerr.FencedInstanceID:
		m.oracle.out[a.id] = true
		m.kill(a)
	default:
		m.t.Fatalf("%s is told %v", a.name, err)
	}
}

// work is what a member does that has a share.
func (m *groupModel) work(a *actor) {
	s := spoken{a.id, a.instance, a.generation}
	var err error
	switch n := m.rnd.IntN(20); {
	case n == 0:
		a.generation, a.share = 0, nil // joins again, as a leader or for new protocols
		a.protocols = append([]string{"range"}, []string{"sticky", "other"}[:m.rnd.IntN(3)]...)
	case n < 8 && *a.share != "":
		err = m.commitFor(s, int32(strings.IndexByte("0123", (*a.share)[0])))
	default:
		err = m.beatFor(s)
	}
	if err != nil {
		m.refused(a, err)
	}
}

// accepted holds against the oracle that something was accepted from s.
func (m *groupModel) accepted(what string, s spoken) {
	g := m.oracle.generations[s.generation]
	if s.generation != m.oracle.newest || g == nil || !g.told[s.id] || m.oracle.out[s.id] {
		m.t.Fatalf("%s of %q is accepted in generation %d, the newest is %d; it is out: %v",
			what, s.id, s.generation, m.oracle.newest, m.oracle.out[s.id])
	}
}

func (m *groupModel) commitFor(s spoken, partition int32) error {
	req := commitRequest(s.id, s.generation, "t", partition, m.rnd.Int64N(1000))
	req.InstanceID = s.instance
	resp := m.send(req).resp.(*kmsg.OffsetCommitResponse)
	err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	if err == nil {
		m.accepted("a commit", s)
		m.oracle.offsets[partition] = req.Topics[0].Partitions[0].Offset
	}
	return err
}

func (m *groupModel) beatFor(s spoken) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 4, "g", s.id, s.instance, s.generation
	err := kerr.ErrorForCode(m.send(req).resp.(*kmsg.HeartbeatResponse).ErrorCode)
	if err == nil {
		m.accepted("a heartbeat", s)
	}
	return err
}

// ghost says something in the name of one who may be long gone, or of one who
// is alive and does not know of it.
func (m *groupModel) ghost() {
	if len(m.spoken) == 0 {
		return
	}
	back := min(len(m.spoken), 1+m.rnd.IntN(50))
	s := m.spoken[len(m.spoken)-back]
	switch m.rnd.IntN(5) {
	case 0:
		_ = m.beatFor(s)
	case 1:
		_ = m.commitFor(s, m.rnd.Int32N(4))
	case 2:
		m.open = append(m.open, m.askShare(s, nil))
	case 3:
		s.instance = nil // it is not believed to be what it does not name
		_ = m.beatFor(s)
	case 4:
		c := m.send(joinRequest(s.id, s.instance))
		m.open = append(m.open, c)
		if c.answered() && c.resp.(*kmsg.JoinGroupResponse).ErrorCode == 0 {
			if m.oracle.out[s.id] {
				m.t.Fatalf("%q joins and is out", s.id)
			}
			m.told(s.id, s.instance, c.resp.(*kmsg.JoinGroupResponse))
		}
	}
}

func (m *groupModel) leave(a *actor) {
	if !a.alive || a.id == "" {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, "g"
	rm := kmsg.NewLeaveGroupRequestMember()
	rm.MemberID, rm.InstanceID = a.id, a.instance
	req.Members = append(req.Members, rm)
	resp := m.send(req).resp.(*kmsg.LeaveGroupResponse)
	if resp.Members[0].ErrorCode == 0 {
		m.oracle.out[a.id] = true
	}
	m.kill(a)
}

// simple is what those do who are no members: they commit, and delete.
func (m *groupModel) simple() {
	free := m.state() == "Empty" || m.state() == "Dead"
	partition := m.rnd.Int32N(4)
	if m.rnd.IntN(4) > 0 {
		req := commitRequest("", -1, "t", partition, m.rnd.Int64N(1000))
		resp := m.send(req).resp.(*kmsg.OffsetCommitResponse)
		if ok := resp.Topics[0].Partitions[0].ErrorCode == 0; ok != free {
			m.t.Fatalf("a commit without a member is accepted: %v, without members: %v", ok, free)
		} else if ok {
			m.oracle.offsets[partition] = req.Topics[0].Partitions[0].Offset
		}
		return
	}
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = 2, []string{"g"}
	ok := m.send(req).resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode == 0
	if ok && !free {
		m.t.Fatal("a group with members is deleted")
	}
	if ok {
		clear(m.oracle.offsets)
		m.oracle.newest = 0 // generations begin anew
		m.forget()
	}
}

func (m *groupModel) fetch() {
	for p := range int32(4) {
		want, ok := m.oracle.offsets[p]
		if !ok {
			want = -1
		}
		if got := m.committed("t", p); got != want {
			m.t.Fatalf("offset of partition %d is %d, acknowledged was %d", p, got, want)
		}
	}
}

// calm lets the living behave: soon each has a share, all of them in the same
// generation, and every partition is in one.
func (m *groupModel) calm() {
	settled := func() bool {
		all := map[string]string{}
		for _, a := range m.actors {
			if !a.alive {
				continue
			}
			if a.share == nil || a.generation != m.oracle.newest {
				return false
			}
			all[who(a.id)] += *a.share
		}
		partitions := []byte(strings.Join(slices.Collect(maps.Values(all)), ""))
		slices.Sort(partitions)
		return len(all) == 0 || string(partitions) == "0123"
	}
	began := m.now
	for !settled() {
		if m.now.Sub(began) > 3*time.Minute {
			for _, a := range m.actors {
				m.t.Logf("%+v", *a)
			}
			m.t.Fatalf("members have not settled; group is %s", m.state())
		}
		for _, a := range m.actors {
			if a.alive && a.share != nil {
				if err := m.beatFor(spoken{a.id, a.instance, a.generation}); err != nil {
					m.refused(a, err)
				}
			} else {
				m.act(a)
			}
		}
		m.pass(500 * time.Millisecond)
		m.checkWaits()
	}
}

package core

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is one of a group.
type member struct {
	id        string
	instance  *string // of a static member (KIP-345)
	client    Client
	session   time.Duration
	rebalance time.Duration
	// protocols are those it knows, the one it likes best first. No name is in
	// it twice.
	protocols  []kmsg.JoinGroupRequestProtocol
	assignment []byte

	// fresh says that it has not seen a generation yet: it sends no heartbeats.
	fresh bool
	// join and sync are the requests it waits for an answer to.
	join, sync *Request
	// unsynced says that it knows of this generation, but has not asked for its
	// assignment.
	unsynced bool

	deadline time.Time // when its session ends
	timer    *timer
}

func (mb *member) size() int {
	n := groupOverhead + len(mb.id) + len(mb.assignment)
	for _, p := range mb.protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

// metadata is what the member says of itself in a protocol.
func (mb *member) metadata(protocol string) []byte {
	for _, p := range mb.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// knows says whether the member has said the very same of itself.
func (mb *member) knows(protocols []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(mb.protocols, protocols, func(a, b kmsg.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && string(a.Metadata) == string(b.Metadata)
	})
}

// distinct drops protocols that are named a second time.
func distinct(protocols []kmsg.JoinGroupRequestProtocol) []kmsg.JoinGroupRequestProtocol {
	seen := map[string]bool{}
	return slices.DeleteFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		again := seen[p.Name]
		seen[p.Name] = true
		return again
	})
}

// find returns the member that a request speaks for.
func (g *group) find(id string, instance *string) (*member, *kerr.Error) {
	if instance != nil {
		switch mb := g.static[*instance]; {
		case mb == nil:
			return nil, kerr.UnknownMemberID
		case mb.id != id:
			return nil, kerr.FencedInstanceID
		}
	}
	if mb := g.byID[id]; mb != nil {
		return mb, nil
	}
	return nil, kerr.UnknownMemberID
}

// check says whether a request comes from a member of this generation.
func (g *group) check(id string, instance *string, generation int32) *kerr.Error {
	if _, err := g.find(id, instance); err != nil {
		return err
	}
	if generation != g.generation {
		return kerr.IllegalGeneration
	}
	return nil
}

// suits says whether a member with these protocols can live with the others.
func (g *group) suits(protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == groupEmpty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		return g.support[p.Name] == len(g.members)
	})
}

// choose returns the protocol that all members know and most like best.
func (g *group) choose() string {
	votes := map[string]int{}
	best := ""
	for _, mb := range g.members {
		for _, p := range mb.protocols {
			if g.support[p.Name] == len(g.members) {
				votes[p.Name]++
				if votes[p.Name] > votes[best] {
					best = p.Name
				}
				break
			}
		}
	}
	return best
}

// rebalanceTimeout is how long the slowest member may take to join.
func (g *group) rebalanceTimeout() time.Duration {
	var longest time.Duration
	for _, mb := range g.members {
		longest = max(longest, mb.rebalance)
	}
	return longest
}

func (m *Machine) addMember(g *group, mb *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	g.members = append(g.members, mb)
	g.byID[mb.id] = mb
	if mb.instance != nil {
		g.static[*mb.instance] = mb
	}
	if g.leader == nil {
		g.leader = mb
	}
	g.count(mb, 1)
	m.groups.bytes += mb.size()
	m.unname(g, mb.id)
}

// removeMember takes a member out of its group. Whoever waits for an answer in
// its place learns that it is unknown, and joins anew if it is alive.
func (m *Machine) removeMember(g *group, mb *member) {
	m.refuseJoin(g, mb, "", kerr.UnknownMemberID)
	m.refuseSync(mb, kerr.UnknownMemberID)
	m.timers.stop(mb.timer)
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == mb })
	delete(g.byID, mb.id)
	if mb.instance != nil {
		delete(g.static, *mb.instance)
	}
	g.count(mb, -1)
	m.groups.bytes -= mb.size()
	if g.leader == mb {
		g.leader = nil
		if len(g.members) > 0 {
			g.leader = g.members[0]
		}
	}
}

func (g *group) count(mb *member, by int) {
	for _, p := range mb.protocols {
		g.support[p.Name] += by
		if g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

// update takes over what a member says of itself now.
func (m *Machine) update(g *group, mb *member, r *Request, req *kmsg.JoinGroupRequest) {
	m.groups.bytes -= mb.size()
	g.count(mb, -1)
	mb.protocols, mb.client = req.Protocols, r.Client
	mb.session, mb.rebalance = timeout(req.SessionTimeoutMillis), timeout(req.RebalanceTimeoutMillis)
	g.count(mb, 1)
	m.groups.bytes += mb.size()
}

// assign gives a member its share.
func (m *Machine) assign(mb *member, assignment []byte) {
	m.groups.bytes += len(assignment) - len(mb.assignment)
	mb.assignment = assignment
}

// name gives out a member id, to be used within the session time-out.
func (m *Machine) name(g *group, id string, within time.Duration) {
	g.named[id] = m.timers.set(m.now.Add(within), func() {
		m.log.Debug("group member did not come back to join", "group", g.name, "member", id)
		m.unname(g, id)
		m.joined(g)
		m.lingerGroup(g)
	})
	m.groups.bytes += groupOverhead
}

func (m *Machine) unname(g *group, id string) {
	if t, ok := g.named[id]; ok {
		m.timers.stop(t)
		delete(g.named, id)
		m.groups.bytes -= groupOverhead
	}
}

// keepAlive lets a member's session end so long from now.
func (m *Machine) keepAlive(g *group, mb *member, d time.Duration) {
	mb.deadline = m.now.Add(d)
	if mb.timer != nil && !mb.timer.at.After(mb.deadline) {
		return // it looks at the deadline when it runs
	}
	m.timers.stop(mb.timer)
	mb.timer = m.timers.set(mb.deadline, func() { m.endSession(g, mb) })
}

// endSession ends the session of a member that has not been heard of.
func (m *Machine) endSession(g *group, mb *member) {
	mb.timer = nil
	if m.now.Before(mb.deadline) {
		m.keepAlive(g, mb, mb.deadline.Sub(m.now))
		return
	}
	if !mb.fresh && (mb.join != nil || mb.sync != nil) {
		return // it waits for us; its session goes on with our answer
	}
	m.log.Info("group member's session ended", "group", g.name, "member", mb.id)
	m.removeMember(g, mb)
	m.left(g)
}

func timeout(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

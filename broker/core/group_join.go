package core

import (
	"bytes"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// minRebalance is the least time that members are given to join again, in
// milliseconds, whatever they ask for: without any, nobody could.
const minRebalance = 100

// joinGroup takes a member into a group (v0–9). It is answered when the
// generation that it begins, or joins, is complete.
func (m *Machine) joinGroup(r *Request, req *kmsg.JoinGroupRequest) {
	if req.Version == 0 || req.RebalanceTimeoutMillis < 0 {
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	req.RebalanceTimeoutMillis = max(req.RebalanceTimeoutMillis, minRebalance)
	req.Protocols = distinct(req.Protocols)
	for i := range req.Protocols {
		// The request's bytes are the server's; this is kept.
		req.Protocols[i].Metadata = bytes.Clone(req.Protocols[i].Metadata)
	}
	if id, err := m.checkJoin(req); err != nil {
		m.relaxed(r, refusedJoin(req, id, err))
		return
	}
	switch g := m.group(req.Group); {
	case req.MemberID != "":
		m.rejoin(g, r, req)
	case req.InstanceID != nil:
		if old := g.static[*req.InstanceID]; old != nil {
			m.replace(g, old, *req.InstanceID+"-"+newID().String(), r, req)
		} else {
			m.enter(g, *req.InstanceID+"-"+newID().String(), r, req)
		}
	case req.Version >= 4:
		// The member is to come again with the id it is given: one whose answer
		// is lost leaves no dead member behind (KIP-394).
		id := r.Client.ID + "-" + newID().String()
		m.name(g, id, timeout(req.SessionTimeoutMillis))
		m.relaxed(r, refusedJoin(req, id, kerr.MemberIDRequired))
	default:
		m.enter(g, r.Client.ID+"-"+newID().String(), r, req)
	}
}

// checkJoin says why a JoinGroup is refused, and the member id that the answer
// names.
func (m *Machine) checkJoin(req *kmsg.JoinGroupRequest) (id string, err *kerr.Error) {
	id = req.MemberID
	session := timeout(req.SessionTimeoutMillis)
	if req.Group == "" || checkGroupName(req.Group) != nil {
		return id, kerr.InvalidGroupID
	}
	if session < m.cfg.MinSession || session > maxSession {
		return id, kerr.InvalidSessionTimeout
	}
	g := m.groups.byName[req.Group]
	if g == nil {
		if id != "" {
			return id, kerr.UnknownMemberID
		}
		g = &group{}
	}
	if !m.roomForMember(g, req) {
		return "", kerr.GroupMaxSizeReached
	}
	if !g.suits(req.ProtocolType, req.Protocols) {
		return id, kerr.InconsistentGroupProtocol
	}
	return id, nil
}

// roomForMember says whether a member can be taken. Who was given an id has a
// place already.
func (m *Machine) roomForMember(g *group, req *kmsg.JoinGroupRequest) bool {
	_, named := g.named[req.MemberID]
	known := named || g.byID[req.MemberID] != nil ||
		req.InstanceID != nil && g.static[*req.InstanceID] != nil
	size := (&member{protocols: req.Protocols}).size() + len(req.Group) + groupOverhead
	return (known || len(g.members)+len(g.named) < maxMembers) && m.roomForGroups(size)
}

// enter makes a new member.
func (m *Machine) enter(g *group, id string, r *Request, req *kmsg.JoinGroupRequest) {
	mb := &member{id: id, instance: req.InstanceID, fresh: true, client: r.Client,
		session: timeout(req.SessionTimeoutMillis), rebalance: timeout(req.RebalanceTimeoutMillis), protocols: req.Protocols}
	m.addMember(g, mb, req.ProtocolType)
	m.keepAlive(g, mb, newMemberWait)
	m.awaitJoin(g, mb, r)
	m.news(g, "member joined", mb, req)
}

// news begins a new generation, or lets the one that is under way go on.
func (m *Machine) news(g *group, why string, mb *member, req *kmsg.JoinGroupRequest) {
	reason := ""
	if req.Reason != nil {
		reason = *req.Reason
	}
	if g.state == groupPreparing {
		m.joined(g)
		return
	}
	m.log.Debug("group begins a new generation", "group", g.name, "why", why, "member", mb.id, "reason", reason)
	m.rebalance(g)
}

// rejoin takes a JoinGroup with a member id.
func (m *Machine) rejoin(g *group, r *Request, req *kmsg.JoinGroupRequest) {
	if _, ok := g.named[req.MemberID]; ok && req.InstanceID == nil {
		m.enter(g, req.MemberID, r, req)
		return
	}
	mb, err := g.find(req.MemberID, req.InstanceID)
	if err != nil {
		m.relaxed(r, refusedJoin(req, req.MemberID, err))
		return
	}
	same := mb.knows(req.Protocols)
	// A leader that joins again wants to share out anew: what it shares has
	// changed. One that only missed the answer gets it again.
	if same && (g.state == groupCompleting || g.state == groupStable && g.leader != mb) {
		m.keepAlive(g, mb, mb.session)
		m.relaxed(r, generationFor(g, mb, req, mb == g.leader))
		return
	}
	m.update(g, mb, r, req)
	m.awaitJoin(g, mb, r)
	m.news(g, "member joined again", mb, req)
}

// replace puts a static member that has been started anew in the place of its
// former self, which is fenced (KIP-345). Its share stays what it was, and
// nobody else has to do anything, unless the group's protocol changes by it.
func (m *Machine) replace(g *group, old *member, id string, r *Request, req *kmsg.JoinGroupRequest) {
	m.refuseJoin(g, old, old.id, kerr.FencedInstanceID)
	m.refuseSync(old, kerr.FencedInstanceID)
	m.timers.stop(old.timer)
	leader := g.leader.id

	mb := &member{id: id, instance: old.instance, assignment: old.assignment, unsynced: old.unsynced,
		protocols: old.protocols}
	m.groups.bytes += mb.size() - old.size()
	g.members[slices.Index(g.members, old)] = mb
	delete(g.byID, old.id)
	g.byID[id], g.static[*mb.instance] = mb, mb
	if g.leader == old {
		g.leader = mb
	}
	m.update(g, mb, r, req)
	m.keepAlive(g, mb, mb.session)
	if g.state != groupStable || g.choose() != g.protocol {
		m.awaitJoin(g, mb, r)
		m.news(g, "static member replaced", mb, req)
		return
	}
	resp := generationFor(g, mb, req, false)
	switch {
	case req.Version >= 9 && g.leader == mb:
		// It learns of the others, but is not to share out (KIP-814).
		resp = generationFor(g, mb, req, true)
		resp.SkipAssignment = true
	case req.Version < 9:
		// It must not think that it leads and is to share out.
		resp.LeaderID = leader
	}
	m.relaxed(r, resp)
}

// generationFor tells a member of the generation as it stands.
func generationFor(g *group, mb *member, req *kmsg.JoinGroupRequest, members bool) *kmsg.JoinGroupResponse {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.Generation = g.generation
	resp.ProtocolType, resp.Protocol = text(g.protocolType), text(g.protocol)
	resp.LeaderID, resp.MemberID = g.leader.id, mb.id
	if members {
		for _, o := range g.members {
			rm := kmsg.NewJoinGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = o.id, o.instance, o.metadata(g.protocol)
			resp.Members = append(resp.Members, rm)
		}
	}
	return resp
}

func refusedJoin(req *kmsg.JoinGroupRequest, id string, err *kerr.Error) *kmsg.JoinGroupResponse {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.ErrorCode, resp.MemberID = err.Code, id
	return resp
}

// awaitJoin keeps a member's JoinGroup until the group is complete. A second
// one takes the first one's place.
func (m *Machine) awaitJoin(g *group, mb *member, r *Request) {
	m.refuseJoin(g, mb, mb.id, kerr.RebalanceInProgress)
	mb.join = r
	m.park(r)
	g.waiting++
}

// answerJoin answers the JoinGroup that a member waits with, when what it says of
// a generation is on the disk: it must not come a second time.
func (m *Machine) answerJoin(g *group, mb *member, resp *kmsg.JoinGroupResponse) {
	m.unpark(mb.join)
	m.durable(mb.join, resp)
	mb.join = nil
	g.waiting--
}

// refuseJoin answers the JoinGroup that a member waits with, if it does.
func (m *Machine) refuseJoin(g *group, mb *member, id string, err *kerr.Error) {
	if mb.join != nil {
		m.answerJoin(g, mb, refusedJoin(mb.join.Body.(*kmsg.JoinGroupRequest), id, err))
	}
}

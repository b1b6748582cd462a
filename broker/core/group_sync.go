package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// syncGroup gives a member its share (v0–5), once the leader has come with all
// of them.
func (m *Machine) syncGroup(r *Request, req *kmsg.SyncGroupRequest) {
	g, mb, err := m.checkSync(req)
	if err != nil {
		m.relaxed(r, refusedSync(req, err))
		return
	}
	m.synced(g, mb)
	if g.state == groupStable {
		m.keepAlive(g, mb, mb.session)
		m.relaxed(r, shareFor(g, mb, req))
		return
	}
	// A second one takes the first one's place.
	m.refuseSync(mb, kerr.RebalanceInProgress)
	mb.sync = r
	m.park(r)
	if mb != g.leader {
		return
	}
	size := 0
	for _, a := range req.GroupAssignment {
		size += len(a.MemberAssignment)
	}
	if !m.roomForGroups(size) {
		m.refuseSync(mb, kerr.GroupMaxSizeReached)
		m.rebalance(g)
		return
	}
	m.shareOut(g, req.GroupAssignment)
}

func (m *Machine) checkSync(req *kmsg.SyncGroupRequest) (*group, *member, *kerr.Error) {
	if req.Group == "" {
		return nil, nil, kerr.InvalidGroupID
	}
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		return nil, nil, kerr.InconsistentGroupProtocol
	}
	g := m.groups.byName[req.Group]
	if g == nil || g.state == groupEmpty {
		return nil, nil, kerr.UnknownMemberID
	}
	mb, err := g.find(req.MemberID, req.InstanceID)
	switch {
	case err != nil:
		return nil, nil, err
	case req.Generation != g.generation:
		return nil, nil, kerr.IllegalGeneration
	case differs(req.ProtocolType, g.protocolType), differs(req.Protocol, g.protocol):
		return nil, nil, kerr.InconsistentGroupProtocol
	case g.state == groupPreparing:
		return nil, nil, kerr.RebalanceInProgress
	}
	return g, mb, nil
}

// differs says whether a client names something other than what is; naming
// nothing is fine before version 5, and so is naming what is not known yet.
func differs(named *string, is string) bool {
	return named != nil && is != "" && *named != is
}

func shareFor(g *group, mb *member, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.ProtocolType, resp.Protocol = text(g.protocolType), text(g.protocol)
	resp.MemberAssignment = mb.assignment
	return resp
}

func refusedSync(req *kmsg.SyncGroupRequest, err *kerr.Error) *kmsg.SyncGroupResponse {
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.ErrorCode = err.Code
	return resp
}

// refuseSync answers the SyncGroup that a member waits with, if it does.
func (m *Machine) refuseSync(mb *member, err *kerr.Error) {
	if mb.sync != nil {
		m.unpark(mb.sync)
		m.relaxed(mb.sync, refusedSync(mb.sync.Body.(*kmsg.SyncGroupRequest), err))
		mb.sync = nil
	}
}

// heartbeat keeps a member's session alive, and tells it when it is to join
// again (v0–4).
func (m *Machine) heartbeat(r *Request, req *kmsg.HeartbeatRequest) {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	resp.ErrorCode = code(m.beat(req))
	m.relaxed(r, resp)
}

func (m *Machine) beat(req *kmsg.HeartbeatRequest) *kerr.Error {
	if req.Group == "" {
		return kerr.InvalidGroupID
	}
	g := m.groups.byName[req.Group]
	if g == nil {
		return kerr.UnknownMemberID
	}
	mb, err := g.find(req.MemberID, req.InstanceID)
	if err != nil {
		return err
	}
	if req.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	m.keepAlive(g, mb, mb.session)
	if g.state == groupPreparing {
		return kerr.RebalanceInProgress
	}
	return nil
}

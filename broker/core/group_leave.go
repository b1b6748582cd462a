package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaveGroup takes members out of a group (v0–5): themselves, or static ones
// that an operator names.
func (m *Machine) leaveGroup(r *Request, req *kmsg.LeaveGroupRequest) {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	leaving := req.Members
	if req.Version < 3 {
		leaving = []kmsg.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		m.relaxed(r, resp)
		return
	}
	g := m.groups.byName[req.Group]
	before := 0
	if g != nil {
		before = len(g.members)
	}
	for _, l := range leaving {
		err := kerr.UnknownMemberID
		if g != nil {
			err = m.takeOut(g, l)
		}
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ErrorCode = l.MemberID, l.InstanceID, code(err)
		resp.Members = append(resp.Members, rm)
	}
	if g != nil && len(g.members) < before {
		m.left(g)
	} else if g != nil {
		m.joined(g) // who was given an id is not awaited any more
	}
	if req.Version < 3 {
		resp.ErrorCode, resp.Members = resp.Members[0].ErrorCode, nil
	}
	m.relaxed(r, resp)
}

func (m *Machine) takeOut(g *group, l kmsg.LeaveGroupRequestMember) *kerr.Error {
	if _, ok := g.named[l.MemberID]; ok {
		m.unname(g, l.MemberID)
		m.lingerGroup(g)
		return nil
	}
	id := l.MemberID
	if id == "" && l.InstanceID != nil {
		if mb := g.static[*l.InstanceID]; mb != nil {
			id = mb.id
		}
	}
	mb, err := g.find(id, l.InstanceID)
	if err != nil {
		return err
	}
	reason := ""
	if l.Reason != nil {
		reason = *l.Reason
	}
	m.log.Info("group member left", "group", g.name, "member", mb.id, "reason", reason)
	m.removeMember(g, mb)
	return nil
}

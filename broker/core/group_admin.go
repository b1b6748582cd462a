package core

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupOperations are the operations that anybody may do to a group, as bits of
// Kafka's numbers: read, delete, describe, describe and alter its configuration.
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

// groupType is the only type of group there is (KIP-848 has others).
const groupType = "classic"

// findCoordinator names the broker that has a group or a transactional id
// (v0–6): always this one.
func (m *Machine) findCoordinator(r *Request, req *kmsg.FindCoordinatorRequest) {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	answer := kmsg.NewFindCoordinatorResponseCoordinator()
	answer.NodeID, answer.Host, answer.Port = nodeID, m.cfg.Host, m.cfg.Port
	switch req.CoordinatorType {
	case 0:
		m.createInternal(offsetsTopic)
	case 1:
		m.createInternal(transactionsTopic)
	default:
		answer.NodeID, answer.Host, answer.Port = -1, "", -1
		answer.ErrorCode = kerr.InvalidRequest.Code
		answer.ErrorMessage = text("only groups and transactional ids have a coordinator")
	}
	if req.Version < 4 {
		resp.NodeID, resp.Host, resp.Port = answer.NodeID, answer.Host, answer.Port
		resp.ErrorCode, resp.ErrorMessage = answer.ErrorCode, answer.ErrorMessage
	} else {
		for _, key := range req.CoordinatorKeys {
			answer.Key = key
			resp.Coordinators = append(resp.Coordinators, answer)
		}
	}
	m.relaxed(r, resp)
}

// listGroups names the groups (v0–5), by state and type if asked.
func (m *Machine) listGroups(r *Request, req *kmsg.ListGroupsRequest) {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	for _, name := range slices.Sorted(maps.Keys(m.groups.byName)) {
		g := m.groups.byName[name]
		if !among(req.StatesFilter, g.state.String()) || !among(req.TypesFilter, groupType) {
			continue
		}
		rg := kmsg.NewListGroupsResponseGroup()
		rg.Group, rg.ProtocolType = g.name, g.protocolType
		rg.GroupState, rg.GroupType = g.state.String(), groupType
		resp.Groups = append(resp.Groups, rg)
	}
	m.durable(r, resp)
}

// among says whether a filter lets s through: Kafka's tools do not all spell it
// with the same capitals.
func among(filter []string, s string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(strings.TrimSpace(f), s)
	})
}

// describeGroups tells of groups and their members (v0–6).
func (m *Machine) describeGroups(r *Request, req *kmsg.DescribeGroupsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, name := range once(req.Groups, itself) {
		rg := kmsg.NewDescribeGroupsResponseGroup()
		rg.Group = name
		if g := m.groups.byName[name]; g != nil {
			g.describe(&rg)
		} else {
			rg.State = "Dead"
			if req.Version >= 6 {
				rg.ErrorCode = kerr.GroupIDNotFound.Code
				rg.ErrorMessage = text("Group " + name + " not found.")
			}
		}
		if req.IncludeAuthorizedOperations && rg.ErrorCode == 0 {
			rg.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, rg)
	}
	m.durable(r, resp)
}

func (g *group) describe(rg *kmsg.DescribeGroupsResponseGroup) {
	rg.State, rg.ProtocolType = g.state.String(), g.protocolType
	if g.state == groupStable {
		rg.Protocol = g.protocol
	}
	for _, mb := range g.members {
		rm := kmsg.NewDescribeGroupsResponseGroupMember()
		rm.MemberID, rm.InstanceID = mb.id, mb.instance
		rm.ClientID, rm.ClientHost = mb.client.ID, "/"+mb.client.Host
		rm.MemberAssignment = mb.assignment
		if g.state == groupStable {
			rm.ProtocolMetadata = mb.metadata(g.protocol)
		}
		rg.Members = append(rg.Members, rm)
	}
}

// deleteGroups forgets groups and their offsets (v0–3). A group that has
// members, or offsets in a transaction that is open, is refused.
func (m *Machine) deleteGroups(r *Request, req *kmsg.DeleteGroupsRequest) {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, name := range req.Groups {
		rg := kmsg.NewDeleteGroupsResponseGroup()
		rg.Group = name
		rg.ErrorCode = code(m.deleteGroup(name))
		resp.Groups = append(resp.Groups, rg)
	}
	m.durable(r, resp)
}

func (m *Machine) deleteGroup(name string) *kerr.Error {
	g := m.groups.byName[name]
	if m.groupPending(name) || g != nil && g.state != groupEmpty {
		return kerr.NonEmptyGroup
	}
	if g == nil {
		return kerr.GroupIDNotFound
	}
	for p := range g.offsets {
		m.dropOffset(g, p)
	}
	m.forgetGroup(g)
	m.log.Info("group deleted", "group", name)
	return nil
}

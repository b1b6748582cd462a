package core

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

func TestGroupGeneration(t *testing.T) {
	g := newGroupRig(t)
	a := g.id()
	first := g.joined(g.join(a, nil), nil)
	if first.Generation != 1 || first.LeaderID != a || len(first.Members) != 1 || *first.Protocol != "range" || *first.ProtocolType != "consumer" {
		t.Fatalf("first generation is %+v", first)
	}
	g.synced(g.sync(a, 1, map[string]string{a: "all"}), "all", nil)
	g.beat(a, nil, 1, nil)

	b := g.id()
	late := g.join(b, nil)
	g.beat(a, nil, 1, kerr.RebalanceInProgress)
	g.synced(g.sync(a, 1, nil), "", kerr.RebalanceInProgress)
	if late.answered() {
		t.Fatal("a new member is let in before the old one has joined again")
	}
	again := g.joined(g.join(a, nil), nil)
	if again.Generation != 2 || len(again.Members) != 2 {
		t.Fatalf("the leader is told %+v", again)
	}
	if resp := g.joined(late, nil); resp.Generation != 2 || resp.LeaderID != a || len(resp.Members) != 0 {
		t.Fatalf("the follower is told %+v", resp)
	}
	waits := g.sync(b, 2, nil)
	if waits.answered() {
		t.Fatal("a share is given before the leader has shared out")
	}
	g.commit(commitRequest(b, 2, "t", 0, 1), kerr.RebalanceInProgress)
	g.synced(g.sync(a, 2, map[string]string{a: "half", b: "other"}), "half", nil)
	g.synced(waits, "other", nil)
	g.synced(g.sync(b, 2, nil), "other", nil) // asked again
	g.beat(a, nil, 1, kerr.IllegalGeneration)
	g.beat("stranger", nil, 2, kerr.UnknownMemberID)
	if g.state() != "Stable" {
		t.Fatalf("group is %s", g.state())
	}
}

// TestGroupGenerationsOnlyRise: who missed a generation by a restart, and claims
// what it had in an older one, must not look newer than those who came since.
func TestGroupGenerationsOnlyRise(t *testing.T) {
	g := newGroupRig(t)
	ids, generation := g.stable(2)
	g.commit(commitRequest(ids[0], generation, "t", 0, 1), nil)
	for range 3 {
		g.load()
		_, next := g.stable(1)
		if next <= generation {
			t.Fatalf("generation %d comes after %d", next, generation)
		}
		generation = next
	}
	// That the last member left is a generation too.
	g.pass(time.Hour)
	if g.state() != "Empty" {
		t.Fatalf("group is %s", g.state())
	}
	g.load()
	if _, next := g.stable(1); next <= generation+1 {
		t.Fatalf("generation %d comes after the empty one after %d", next, generation)
	}
	// One that is deleted begins anew.
	g.pass(time.Hour)
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"g"}
	wantCode(t, "DeleteGroups", g.send(del).resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, nil)
	g.load()
	if _, next := g.stable(1); next != 1 {
		t.Fatalf("the first generation of a group made anew is %d", next)
	}
}

// TestGroupGenerationsOnAFullDisk: while the disk is nearly full the number of a
// generation is kept all the same.
func TestGroupGenerationsOnAFullDisk(t *testing.T) {
	g := newGroupRig(t)
	g.stable(1)
	g.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 19})
	for limit := time.Now().Add(10 * time.Second); !errors.Is(g.disk.Health(), store.ErrLowSpace); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("health: %v", g.disk.Health())
		}
	}
	g.load()
	g.m.readOnly = g.disk.Health()
	_, generation := g.stable(1)
	v, ok, err := g.disk.Get(groupKey("g"))
	if err != nil || !ok {
		t.Fatalf("no generation is kept: %v", err)
	}
	if kept, err := decodeGeneration(v); kept != generation || err != nil {
		t.Fatalf("generation %d is kept, the group is at %d (%v)", kept, generation, err)
	}
}

// TestGroupGenerationsOnABrokenDisk: while nothing can be written groups go on,
// and what could not be kept of them does not come a second time.
func TestGroupGenerationsOnABrokenDisk(t *testing.T) {
	g := newGroupRig(t)
	_, generation := g.stable(2)
	for range 3 {
		g.m.readOnly = errors.New("a sync has failed")
		for range 5 {
			g.pass(testRebalance + testSession) // the members are gone
			_, next := g.stable(1)
			if next <= generation {
				t.Fatalf("generation %d comes after %d", next, generation)
			}
			generation = next
		}
		g.load()
	}
}

func TestGroupMembersThatAreGone(t *testing.T) {
	tests := []struct {
		name string
		do   func(g *groupRig, ids []string, generation int32)
	}{
		{"no heartbeats", func(g *groupRig, ids []string, generation int32) {
			for range 2 {
				g.pass(testSession/2 - time.Second)
				g.beat(ids[0], nil, generation, nil)
			}
			g.pass(testSession / 2)
			g.beat(ids[0], nil, generation, kerr.RebalanceInProgress)
			g.beat(ids[1], nil, generation, kerr.UnknownMemberID)
			g.joined(g.join(ids[0], nil), nil)
		}},
		{"no second join", func(g *groupRig, ids []string, generation int32) {
			c := g.join(ids[0], nil) // the leader
			for range 10 {
				g.pass(testRebalance/10 - time.Millisecond)
				g.beat(ids[1], nil, generation, kerr.RebalanceInProgress)
			}
			if c.answered() {
				g.t.Fatal("the wait for a member is cut short")
			}
			g.pass(time.Second)
			g.joined(c, nil)
			g.beat(ids[1], nil, generation, kerr.UnknownMemberID)
		}},
		{"no sync", func(g *groupRig, ids []string, _ int32) {
			first, second := g.join(ids[0], nil), g.join(ids[1], nil)
			generation := g.joined(first, nil).Generation
			g.joined(second, nil)
			waits := g.sync(ids[1], generation, nil)
			for range 10 {
				g.beat(ids[0], nil, generation, nil) // alive, but does not share out
				g.pass(testRebalance / 10)
			}
			g.synced(waits, "", kerr.RebalanceInProgress)
			g.beat(ids[0], nil, generation, kerr.UnknownMemberID)
			if next := g.joined(g.join(ids[1], nil), nil); next.LeaderID != ids[1] {
				g.t.Fatalf("leader is %q", next.LeaderID)
			}
		}},
		{"left", func(g *groupRig, ids []string, generation int32) {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Version, req.Group, req.MemberID = 2, "g", ids[0]
			wantCode(g.t, "LeaveGroup", g.send(req).resp.(*kmsg.LeaveGroupResponse).ErrorCode, nil)
			wantCode(g.t, "LeaveGroup", g.send(req).resp.(*kmsg.LeaveGroupResponse).ErrorCode, kerr.UnknownMemberID)
			g.beat(ids[1], nil, generation, kerr.RebalanceInProgress)
			if next := g.joined(g.join(ids[1], nil), nil); next.LeaderID != ids[1] {
				g.t.Fatalf("leader is %q", next.LeaderID)
			}
		}},
		{"all", func(g *groupRig, ids []string, generation int32) {
			g.pass(testSession)
			g.pass(0)
			if s := g.state(); s != "Empty" {
				g.t.Fatalf("group is %s", s)
			}
			g.joined(g.join(ids[0], nil), kerr.UnknownMemberID)
			g.pass(groupLinger)
			if s := g.state(); s != "Dead" {
				g.t.Fatalf("group is %s after a while", s)
			}
			if g.m.groups.bytes != 0 {
				g.t.Fatalf("no group takes %d bytes", g.m.groups.bytes)
			}
		}},
		{"id never used", func(g *groupRig, ids []string, generation int32) {
			g.id()
			c, d := g.join(ids[0], nil), g.join(ids[1], nil)
			if c.answered() {
				g.t.Fatal("a member that was given an id is not awaited")
			}
			g.pass(testSession)
			g.joined(c, nil)
			g.joined(d, nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGroupRig(t)
			ids, generation := g.stable(2)
			test.do(g, ids, generation)
		})
	}
}

// A member that joins for the first time sends no heartbeats: it may be gone.
func TestGroupNewMemberGone(t *testing.T) {
	g := newGroupRig(t)
	ids, generation := g.stable(1)
	b := g.id()
	req := joinRequest(b, nil)
	req.RebalanceTimeoutMillis = int32(time.Hour.Milliseconds())
	c := g.send(req)
	for range 100 {
		g.beat(ids[0], nil, generation, kerr.RebalanceInProgress) // alive, but busy
		g.pass(newMemberWait / 100)
	}
	g.joined(c, kerr.UnknownMemberID)
}

func TestGroupJoinAgain(t *testing.T) {
	g := newGroupRig(t)
	ids, generation := g.stable(2)
	// A follower that has nothing new to say gets the generation again.
	if resp := g.joined(g.join(ids[1], nil), nil); resp.Generation != generation || resp.LeaderID != ids[0] {
		t.Fatalf("told %+v", resp)
	}
	// With something new to say, everybody joins again.
	c := g.join(ids[1], nil, "range", "sticky")
	g.beat(ids[0], nil, generation, kerr.RebalanceInProgress)
	// A second request takes the first one's place.
	d := g.join(ids[1], nil, "range", "sticky")
	g.joined(c, kerr.RebalanceInProgress)
	g.joined(g.join(ids[0], nil), nil)
	if resp := g.joined(d, nil); resp.Generation != generation+1 {
		t.Fatalf("told %+v", resp)
	}
	// The leader missed the answer.
	if resp := g.joined(g.join(ids[0], nil), nil); resp.Generation != generation+1 || len(resp.Members) != 2 {
		t.Fatalf("told %+v", resp)
	}
}

func TestGroupRefusesJoin(t *testing.T) {
	instance := "i"
	tests := []struct {
		name string
		req  func(*kmsg.JoinGroupRequest)
		want *kerr.Error
	}{
		{"no group", func(r *kmsg.JoinGroupRequest) { r.Group = "" }, kerr.InvalidGroupID},
		{"long group", func(r *kmsg.JoinGroupRequest) { r.Group = string(make([]byte, maxGroupName+1)) }, kerr.InvalidGroupID},
		{"short session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 999 }, kerr.InvalidSessionTimeout},
		{"long session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1<<31 - 1 }, kerr.InvalidSessionTimeout},
		{"unknown member", func(r *kmsg.JoinGroupRequest) { r.MemberID = "x" }, kerr.UnknownMemberID},
		{"unknown member, no such group", func(r *kmsg.JoinGroupRequest) { r.MemberID, r.Group = "x", "h" }, kerr.UnknownMemberID},
		{"unknown instance", func(r *kmsg.JoinGroupRequest) { r.MemberID, r.InstanceID = "x", &instance }, kerr.UnknownMemberID},
		{"other type", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }, kerr.InconsistentGroupProtocol},
		{"other protocol", func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "sticky" }, kerr.InconsistentGroupProtocol},
		{"no protocol", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }, kerr.InconsistentGroupProtocol},
		{"no type, new group", func(r *kmsg.JoinGroupRequest) { r.Group, r.ProtocolType = "h", "" }, kerr.InconsistentGroupProtocol},
		{"no room", func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, maxGroupBytes) }, kerr.GroupMaxSizeReached},
	}
	g := newGroupRig(t)
	g.stable(1)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g.t = t
			req := joinRequest("", nil)
			test.req(req)
			g.joined(g.send(req), test.want)
			if req.Group == "h" && g.m.groups.byName["h"] != nil {
				t.Fatal("a refused member makes a group")
			}
		})
	}
}

// Since version 5 members say which protocol they share out by.
func TestGroupSyncNamesProtocol(t *testing.T) {
	g := newGroupRig(t)
	a := g.joined(g.join(g.id(), nil), nil)
	kind, name, other := "consumer", "range", "sticky"
	for _, c := range []struct {
		kind, name *string
		version    int16
		want       *kerr.Error
	}{{nil, &name, 5, kerr.InconsistentGroupProtocol}, {&kind, nil, 5, kerr.InconsistentGroupProtocol}, {&kind, &other, 5, kerr.InconsistentGroupProtocol},
		{&other, &name, 5, kerr.InconsistentGroupProtocol}, {nil, nil, 4, nil}, {&kind, &name, 5, nil}} {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation, req.ProtocolType, req.Protocol = c.version, "g", a.MemberID, 1, c.kind, c.name
		wantCode(t, "SyncGroup", g.send(req).resp.(*kmsg.SyncGroupResponse).ErrorCode, c.want)
	}
}

func TestGroupFull(t *testing.T) {
	g := newGroupRig(t)
	last := ""
	for range maxMembers {
		last = g.id()
	}
	g.joined(g.join("", nil), kerr.GroupMaxSizeReached)
	g.join(last, nil) // who was given an id has a place
	if g.state() != "PreparingRebalance" {
		t.Fatal("a member with a place is refused")
	}
}

func TestGroupChoosesProtocol(t *testing.T) {
	tests := []struct {
		name    string
		members [][]string
		want    string
	}{
		{"all know one", [][]string{{"a", "b"}, {"b", "c"}, {"b"}}, "b"},
		{"most votes", [][]string{{"a", "b"}, {"b", "a"}, {"b", "a"}}, "b"},
		{"a tie", [][]string{{"a", "b"}, {"b", "a"}}, "a"},
		{"named twice", [][]string{{"a", "a", "b"}, {"b"}}, "b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGroupRig(t)
			var ids []string
			for range test.members {
				ids = append(ids, g.id())
			}
			var c *call
			for i, protocols := range test.members {
				c = g.join(ids[i], nil, protocols...)
			}
			if resp := g.joined(c, nil); *resp.Protocol != test.want {
				t.Fatalf("protocol is %q, want %q", *resp.Protocol, test.want)
			}
		})
	}
}

func TestGroupStaticMember(t *testing.T) {
	one, two := "one", "two"
	g := newGroupRig(t)
	a := g.joined(g.join("", &one), nil)
	g.synced(g.sync(a.MemberID, 1, map[string]string{a.MemberID: "all"}), "all", nil)
	waits := g.join("", &two)
	g.joined(g.join(a.MemberID, &one), nil)
	b := g.joined(waits, nil)
	parked := g.sync(b.MemberID, 2, nil)
	g.synced(g.sync(a.MemberID, 2, map[string]string{a.MemberID: "A", b.MemberID: "B"}), "A", nil)
	g.synced(parked, "B", nil)

	// The follower starts anew: nobody has to do anything, and its former self
	// is fenced.
	again := g.joined(g.join("", &two), nil)
	if again.Generation != 2 || again.LeaderID != a.MemberID || again.MemberID == b.MemberID || again.SkipAssignment {
		t.Fatalf("told %+v", again)
	}
	g.beat(b.MemberID, &two, 2, kerr.FencedInstanceID)
	g.joined(g.join(b.MemberID, &two), kerr.FencedInstanceID)
	g.synced(g.sync(again.MemberID, 2, nil), "B", nil)
	g.beat(a.MemberID, &one, 2, nil)

	// So does the leader: it learns of the others, and shares out nothing.
	leader := g.joined(g.join("", &one), nil)
	if leader.LeaderID != leader.MemberID || !leader.SkipAssignment || len(leader.Members) != 2 {
		t.Fatalf("told %+v", leader)
	}
	g.synced(g.sync(leader.MemberID, 2, nil), "A", nil)
	// A client of old cannot be told to skip: it must not think that it leads.
	old := joinRequest("", &one)
	old.Version = 8
	if resp := g.joined(g.send(old), nil); resp.LeaderID == resp.MemberID || len(resp.Members) != 0 {
		t.Fatalf("told %+v", resp)
	}

	// With another protocol everybody joins again.
	other := joinRequest("", &two, "range", "sticky")
	if g.send(other); g.state() != "Stable" {
		t.Fatal("a protocol that is not chosen begins a generation")
	}
	// An operator takes them out.
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, "g"
	gone := "gone"
	for _, instance := range []*string{&one, &two, &gone} {
		rm := kmsg.NewLeaveGroupRequestMember()
		rm.InstanceID = instance
		req.Members = append(req.Members, rm)
	}
	resp := g.send(req).resp.(*kmsg.LeaveGroupResponse)
	for i, want := range []*kerr.Error{nil, nil, kerr.UnknownMemberID} {
		wantCode(t, "LeaveGroup", resp.Members[i].ErrorCode, want)
	}
	g.pass(0)
	if s := g.state(); s != "Empty" {
		t.Fatalf("group is %s", s)
	}
}

// A static member that is away while the others join again stays a member until
// its session ends; one that comes back before has to join the generation.
func TestGroupStaticMemberAway(t *testing.T) {
	one, two := "one", "two"
	g := newGroupRig(t)
	a := g.joined(g.join("", &one), nil)
	g.synced(g.sync(a.MemberID, 1, nil), "", nil)
	waits := g.join("", &two)
	if again := g.joined(g.join(a.MemberID, &one), nil); again.Generation != 2 {
		t.Fatalf("told %+v", again)
	}
	b := g.joined(waits, nil)
	// While the generation is shared out, a new self begins another one.
	parked := g.sync(b.MemberID, 2, nil)
	c := g.join("", &two)
	g.synced(parked, "", kerr.FencedInstanceID)
	g.joined(g.join(a.MemberID, &one), nil)
	b = g.joined(c, nil)
	if b.Generation != 3 {
		t.Fatalf("told %+v", b)
	}
	g.synced(g.sync(a.MemberID, 3, nil), "", nil)
	g.synced(g.sync(b.MemberID, 3, nil), "", nil)
	rejoin := g.join(a.MemberID, &one) // the leader, to share out anew
	for range 9 {
		g.pass(testRebalance / 10)
		g.beat(b.MemberID, &two, 3, kerr.RebalanceInProgress)
	}
	g.pass(testRebalance / 10)
	if resp := g.joined(rejoin, nil); resp.Generation != 4 || len(resp.Members) != 2 {
		t.Fatalf("told %+v", resp)
	}
}

func TestGroupDescribeAndList(t *testing.T) {
	g := newGroupRig(t)
	ids, generation := g.stable(2)
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups, req.IncludeAuthorizedOperations = 6, []string{"g", "none"}, true
	resp := g.send(req).resp.(*kmsg.DescribeGroupsResponse)
	d := resp.Groups[0]
	if d.State != "Stable" || d.ProtocolType != "consumer" || d.Protocol != "range" || len(d.Members) != 2 || d.AuthorizedOperations != 3400 {
		t.Fatalf("described as %+v", d)
	}
	mb := d.Members[1]
	if mb.MemberID != ids[1] || mb.ClientID != "client" || mb.ClientHost != "/127.0.0.1" ||
		string(mb.MemberAssignment) != ids[1] || len(mb.ProtocolMetadata) == 0 {
		t.Fatalf("member is described as %+v", mb)
	}
	wantCode(t, "DescribeGroups", resp.Groups[1].ErrorCode, kerr.GroupIDNotFound)
	req.Version = 5
	if d := g.send(req).resp.(*kmsg.DescribeGroupsResponse).Groups[1]; d.ErrorCode != 0 || d.State != "Dead" {
		t.Fatalf("unknown group is described as %+v", d)
	}

	simple := commitRequest("", -1, "t", 0, 7)
	simple.Group = "a"
	g.commit(simple, nil)
	tests := []struct {
		states, types []string
		want          []string
	}{
		{nil, nil, []string{"a", "g"}},
		{[]string{"stable"}, nil, []string{"g"}},
		{[]string{" EMPTY ", "Dead"}, []string{"Classic"}, []string{"a"}},
		{nil, []string{"consumer"}, nil},
	}
	for _, test := range tests {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = 5, test.states, test.types
		var got []string
		for _, l := range g.send(req).resp.(*kmsg.ListGroupsResponse).Groups {
			got = append(got, l.Group)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("filter %v %v lists %v, want %v", test.states, test.types, got, test.want)
		}
	}
	g.beat(ids[0], nil, generation, nil)
}

func TestFindCoordinator(t *testing.T) {
	g := newGroupRig(t)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey = 3, "g"
	if resp := g.send(req).resp.(*kmsg.FindCoordinatorResponse); resp.ErrorCode != 0 || resp.Host != "localhost" || resp.Port != 9092 {
		t.Fatalf("found %+v", resp)
	}
	req.Version, req.CoordinatorType, req.CoordinatorKeys = 6, 1, []string{"x", "y"}
	resp := g.send(req).resp.(*kmsg.FindCoordinatorResponse)
	if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "y" || resp.Coordinators[1].Port != 9092 {
		t.Fatalf("found %+v", resp)
	}
	req.CoordinatorType = 2
	resp = g.send(req).resp.(*kmsg.FindCoordinatorResponse)
	wantCode(t, "FindCoordinator", resp.Coordinators[0].ErrorCode, kerr.InvalidRequest)
	if resp.Coordinators[0].NodeID != -1 {
		t.Fatalf("found %+v", resp)
	}
}

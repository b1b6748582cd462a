package core

import (
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// groupRig is a machine over a store in memory, with a topic "t" of four
// partitions and a topic "u" of one, and a clock that the test turns.
type groupRig struct {
	t    testing.TB
	m    *Machine
	mem  *vfs.MemFS
	disk *store.Store
	now  time.Time
}

func newGroupRig(t testing.TB) *groupRig {
	t.Helper()
	mem := vfs.NewMem()
	disk, err := store.Open(store.Options{FS: mem, Dir: "broker", LowSpace: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	g := &groupRig{t: t, mem: mem, disk: disk, now: time.Unix(1_700_000_000, 0)}
	g.load()
	g.m.create("t", 4, map[string]string{})
	g.m.create("u", 1, map[string]string{})
	g.settle()
	return g
}

// load makes the machine anew of what is written, as after a kill.
func (g *groupRig) load() {
	g.t.Helper()
	cfg := Config{Host: "localhost", Port: 9092, MinSession: time.Second, Logger: slog.New(slog.DiscardHandler)}
	m, err := Load(cfg, NewView(), g.disk, g.now, true, false)
	if err != nil {
		g.t.Fatal(err)
	}
	g.m = m
	g.settle()
}

// call is a request that was sent, and its answer, if it came.
type call struct {
	resp kmsg.Response
	sent time.Time
}

func (c *call) answered() bool { return c.resp != nil }

func (g *groupRig) send(body kmsg.Request) *call {
	c := &call{sent: g.now}
	g.m.Handle(g.now, &Request{
		Client: Client{ID: "client", Host: "127.0.0.1"},
		Body:   body,
		Answer: func(resp kmsg.Response) {
			if c.resp != nil {
				g.t.Fatalf("%T is answered twice", body)
			}
			if resp.Key() != body.Key() || resp.GetVersion() != body.GetVersion() {
				g.t.Fatalf("%T version %d is answered by %T version %d", body, body.GetVersion(), resp, resp.GetVersion())
			}
			c.resp = wired(g.t, body, resp)
		},
		Dropped: func() { g.t.Fatalf("%T is dropped", body) },
	})
	g.settle()
	return c
}

// wired is a response as it looks after the way over the wire.
func wired(t testing.TB, req kmsg.Request, resp kmsg.Response) kmsg.Response {
	back := req.ResponseKind()
	back.SetVersion(resp.GetVersion())
	if err := back.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatalf("%T version %d: %v", resp, resp.GetVersion(), err)
	}
	return back
}

// settle ends the turn.
func (g *groupRig) settle() {
	turn := g.m.Take()
	if !turn.Commit.Empty() {
		if _, err := g.disk.Write(&turn.Commit); err != nil {
			g.t.Fatal(err)
		}
	}
	release(turn.Relaxed)
	release(turn.Publish)
	release(turn.Durable)
}

// pass turns the clock, and does what is due on the way at its time.
func (g *groupRig) pass(d time.Duration) {
	end := g.now.Add(d)
	for {
		at, ok := g.m.Due()
		if !ok || at.After(end) {
			break
		}
		if at.After(g.now) {
			g.now = at
		}
		g.m.Tick(g.now)
		g.settle()
	}
	g.now = end
}

const (
	testSession   = 10 * time.Second
	testRebalance = 30 * time.Second
)

func joinRequest(id string, instance *string, protocols ...string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = 9, "g", id, instance
	req.SessionTimeoutMillis = int32(testSession.Milliseconds())
	req.RebalanceTimeoutMillis = int32(testRebalance.Milliseconds())
	req.ProtocolType = "consumer"
	if len(protocols) == 0 {
		protocols = []string{"range"}
	}
	for _, p := range protocols {
		meta := kmsg.NewConsumerMemberMetadata()
		meta.Topics = []string{"t"}
		rp := kmsg.NewJoinGroupRequestProtocol()
		rp.Name, rp.Metadata = p, meta.AppendTo(nil)
		req.Protocols = append(req.Protocols, rp)
	}
	return req
}

func (g *groupRig) join(id string, instance *string, protocols ...string) *call {
	return g.send(joinRequest(id, instance, protocols...))
}

// id asks for a member id.
func (g *groupRig) id() string {
	g.t.Helper()
	resp := g.joined(g.join("", nil), kerr.MemberIDRequired)
	if resp.MemberID == "" {
		g.t.Fatal("no member id given")
	}
	return resp.MemberID
}

func (g *groupRig) joined(c *call, want *kerr.Error) *kmsg.JoinGroupResponse {
	g.t.Helper()
	if !c.answered() {
		g.t.Fatal("JoinGroup is not answered")
	}
	resp := c.resp.(*kmsg.JoinGroupResponse)
	wantCode(g.t, "JoinGroup", resp.ErrorCode, want)
	return resp
}

// protocol is the group's, as members tell it that share out or ask for their share.
func (g *groupRig) protocol() (kind, name *string) {
	k, n := "consumer", ""
	if gr := g.m.groups.byName["g"]; gr != nil {
		n = gr.protocol
	}
	return &k, &n
}

func (g *groupRig) sync(id string, generation int32, shares map[string]string) *call {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 5, "g", id, generation
	req.ProtocolType, req.Protocol = g.protocol()
	for to, share := range shares {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = to, []byte(share)
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	return g.send(req)
}

func (g *groupRig) synced(c *call, share string, want *kerr.Error) {
	g.t.Helper()
	if !c.answered() {
		g.t.Fatal("SyncGroup is not answered")
	}
	resp := c.resp.(*kmsg.SyncGroupResponse)
	wantCode(g.t, "SyncGroup", resp.ErrorCode, want)
	if string(resp.MemberAssignment) != share {
		g.t.Fatalf("share is %q, want %q", resp.MemberAssignment, share)
	}
}

func (g *groupRig) beat(id string, instance *string, generation int32, want *kerr.Error) {
	g.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 4, "g", id, instance, generation
	wantCode(g.t, "Heartbeat", g.send(req).resp.(*kmsg.HeartbeatResponse).ErrorCode, want)
}

func commitRequest(id string, generation int32, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 9, "g", id, generation
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = partition, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func (g *groupRig) commit(req *kmsg.OffsetCommitRequest, want *kerr.Error) {
	g.t.Helper()
	resp := g.send(req).resp.(*kmsg.OffsetCommitResponse)
	wantCode(g.t, "OffsetCommit", resp.Topics[0].Partitions[0].ErrorCode, want)
}

// committed fetches one offset of the group.
func (g *groupRig) committed(topic string, partition int32) int64 {
	g.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 7, "g"
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{partition}
	req.Topics = append(req.Topics, rt)
	resp := g.send(req).resp.(*kmsg.OffsetFetchResponse)
	p := resp.Topics[0].Partitions[0]
	wantCode(g.t, "OffsetFetch", p.ErrorCode, nil)
	return p.Offset
}

func (g *groupRig) state() string {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = 5, []string{"g"}
	return g.send(req).resp.(*kmsg.DescribeGroupsResponse).Groups[0].State
}

// stable brings dynamic members up to a generation in which each has a share
// that is its own id. The first is the leader.
func (g *groupRig) stable(n int) (ids []string, generation int32) {
	g.t.Helper()
	for range n {
		ids = append(ids, g.id())
	}
	var joins []*call
	shares := map[string]string{}
	for _, id := range ids {
		joins = append(joins, g.join(id, nil))
		shares[id] = id
	}
	for _, c := range joins {
		generation = g.joined(c, nil).Generation
	}
	var syncs []*call
	for i, id := range ids {
		if i == 0 {
			syncs = append(syncs, g.sync(id, generation, shares))
		} else {
			syncs = append(syncs, g.sync(id, generation, nil))
		}
	}
	for i, c := range syncs {
		g.synced(c, ids[i], nil)
	}
	return ids, generation
}

func wantCode(t testing.TB, what string, got int16, want *kerr.Error) {
	t.Helper()
	if got != code(want) {
		t.Fatalf("%s: %v, want %v", what, kerr.ErrorForCode(got), want)
	}
}

package core

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOffsetCommitChecks(t *testing.T) {
	instance, long := "i", strings.Repeat("x", maxOffsetMetadata+1)
	tests := []struct {
		name string
		req  func(*kmsg.OffsetCommitRequest)
		want *kerr.Error
	}{
		{"member", func(*kmsg.OffsetCommitRequest) {}, nil},
		{"old generation", func(r *kmsg.OffsetCommitRequest) { r.Generation-- }, kerr.IllegalGeneration},
		{"no generation", func(r *kmsg.OffsetCommitRequest) { r.Generation = -1 }, kerr.IllegalGeneration},
		{"other member", func(r *kmsg.OffsetCommitRequest) { r.MemberID = "x" }, kerr.UnknownMemberID},
		{"unknown instance", func(r *kmsg.OffsetCommitRequest) { r.InstanceID = &instance }, kerr.UnknownMemberID},
		{"simple, with members about", func(r *kmsg.OffsetCommitRequest) { r.Generation, r.MemberID = -1, "" }, kerr.UnknownMemberID},
		{"simple", func(r *kmsg.OffsetCommitRequest) { r.Group, r.Generation, r.MemberID = "s", -1, "" }, nil},
		{"simple, no name", func(r *kmsg.OffsetCommitRequest) { r.Group, r.Generation, r.MemberID = "", -1, "" }, nil},
		{"group gone", func(r *kmsg.OffsetCommitRequest) { r.Group = "h" }, kerr.GroupIDNotFound},
		{"group gone, of old", func(r *kmsg.OffsetCommitRequest) { r.Group, r.Version = "h", 8 }, kerr.IllegalGeneration},
		{"long group", func(r *kmsg.OffsetCommitRequest) { r.Group, r.Generation = string(make([]byte, maxGroupName+1)), -1 }, kerr.InvalidGroupID},
		{"unknown topic", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = "x" }, kerr.UnknownTopicOrPartition},
		{"unknown partition", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 4 }, kerr.UnknownTopicOrPartition},
		{"unknown topic id", func(r *kmsg.OffsetCommitRequest) { r.Version = 10 }, kerr.UnknownTopicID},
		{"long metadata", func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = &long }, kerr.OffsetMetadataTooLarge},
	}
	g := newGroupRig(t)
	ids, generation := g.stable(2)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g.t = t
			req := commitRequest(ids[1], generation, "t", 1, 42)
			test.req(req)
			g.commit(req, test.want)
			group := g.m.groups.byName[req.Group]
			if kept := group != nil && len(group.offsets) > 0; kept != (test.want == nil) {
				t.Fatalf("offset kept: %v", kept)
			}
			if group != nil {
				for p := range group.offsets {
					g.m.dropOffset(group, p)
				}
			}
		})
	}
}

// A commit is a sign of life.
func TestOffsetCommitKeepsAlive(t *testing.T) {
	g := newGroupRig(t)
	ids, generation := g.stable(1)
	for range 3 {
		g.pass(testSession * 2 / 3)
		g.commit(commitRequest(ids[0], generation, "t", 0, 1), nil)
	}
}

func TestOffsetFetch(t *testing.T) {
	g := newGroupRig(t)
	meta := "here"
	for partition, offset := range map[int32]int64{0: 10, 3: 13} {
		req := commitRequest("", -1, "t", partition, offset)
		req.Topics[0].Partitions[0].LeaderEpoch, req.Topics[0].Partitions[0].Metadata = 5, &meta
		g.commit(req, nil)
	}
	g.commit(commitRequest("", -1, "u", 0, 1), nil)

	t.Run("one group", func(t *testing.T) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group = 7, "g"
		resp := g.send(req).resp.(*kmsg.OffsetFetchResponse)
		if len(resp.Topics) != 2 || resp.Topics[0].Topic != "t" || len(resp.Topics[0].Partitions) != 2 {
			t.Fatalf("all offsets are %+v", resp)
		}
		if p := resp.Topics[0].Partitions[1]; p.Partition != 3 || p.Offset != 13 || p.LeaderEpoch != 5 || *p.Metadata != meta {
			t.Fatalf("offset is %+v", p)
		}
		req.Topics = []kmsg.OffsetFetchRequestTopic{}
		if resp := g.send(req).resp.(*kmsg.OffsetFetchResponse); len(resp.Topics) != 0 {
			t.Fatalf("no offsets are %+v", resp)
		}
		if n := g.committed("t", 1); n != -1 {
			t.Fatalf("offset is %d where none was committed", n)
		}
		if n := g.committed("nowhere", 1); n != -1 {
			t.Fatalf("offset is %d in a topic that does not exist", n)
		}
	})
	t.Run("groups", func(t *testing.T) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version = 10
		id := g.m.topics.byName["t"].id
		for _, group := range []string{"g", "none"} {
			rg := kmsg.NewOffsetFetchRequestGroup()
			rg.Group = group
			rg.Topics = []kmsg.OffsetFetchRequestGroupTopic{
				{TopicID: id, Partitions: []int32{3, 9}},
				{TopicID: [16]byte{1}, Partitions: []int32{0}},
			}
			req.Groups = append(req.Groups, rg)
		}
		req.Groups = append(req.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"})
		resp := g.send(req).resp.(*kmsg.OffsetFetchResponse)
		for i, want := range []int64{13, -1} {
			topics := resp.Groups[i].Topics
			if topics[0].TopicID != id || topics[0].Partitions[0].Offset != want || topics[0].Partitions[1].Offset != -1 {
				t.Fatalf("group %d has %+v", i, topics)
			}
			wantCode(t, "unknown partition", topics[0].Partitions[1].ErrorCode, nil)
			wantCode(t, "unknown topic", topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicID)
		}
		if all := resp.Groups[2].Topics; len(all) != 2 || all[0].TopicID != id {
			t.Fatalf("all offsets are %+v", all)
		}
	})
}

func TestOffsetDelete(t *testing.T) {
	request := func(group, topic string) *kmsg.OffsetDeleteRequest {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		rt := kmsg.NewOffsetDeleteRequestTopic()
		rt.Topic = topic
		rt.Partitions = append(rt.Partitions, kmsg.NewOffsetDeleteRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		return req
	}
	g := newGroupRig(t)
	for _, topic := range []string{"t", "u"} {
		g.commit(commitRequest("", -1, topic, 0, 1), nil)
	}
	ids, generation := g.stable(1)
	tests := []struct {
		name         string
		group, topic string
		whole, part  *kerr.Error
	}{
		{"no group", "", "t", kerr.InvalidGroupID, nil},
		{"unknown group", "x", "t", kerr.GroupIDNotFound, nil},
		{"unknown topic", "g", "x", nil, kerr.UnknownTopicOrPartition},
		{"subscribed", "g", "t", nil, kerr.GroupSubscribedToTopic},
		{"not subscribed", "g", "u", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := g.send(request(test.group, test.topic)).resp.(*kmsg.OffsetDeleteResponse)
			wantCode(t, "OffsetDelete", resp.ErrorCode, test.whole)
			if test.whole == nil {
				wantCode(t, "partition", resp.Topics[0].Partitions[0].ErrorCode, test.part)
			}
		})
	}
	if g.committed("t", 0) != 1 || g.committed("u", 0) != -1 {
		t.Fatal("the wrong offset is forgotten")
	}
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Version, del.Groups = 2, []string{"g", "x"}
	groups := g.send(del).resp.(*kmsg.DeleteGroupsResponse).Groups
	wantCode(t, "DeleteGroups", groups[0].ErrorCode, kerr.NonEmptyGroup)
	wantCode(t, "DeleteGroups", groups[1].ErrorCode, kerr.GroupIDNotFound)
	g.beat(ids[0], nil, generation, nil)
	g.pass(testSession)
	g.pass(0)
	wantCode(t, "DeleteGroups", g.send(del).resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, nil)
	if g.committed("t", 0) != -1 || g.state() != "Dead" || g.m.groups.bytes != 0 {
		t.Fatal("the group is still there")
	}
}

func TestTxnOffsetsChecks(t *testing.T) {
	instance := "i"
	g := newGroupRig(t)
	ids, generation := g.stable(1)
	tests := []struct {
		name       string
		group      string
		generation int32
		member     string
		instance   *string
		want       *kerr.Error
	}{
		{"no group", "", -1, "", nil, kerr.InvalidGroupID},
		{"producer of old", "g", -1, "", nil, nil},
		{"producer of old, new group", "h", -1, "", nil, nil},
		{"member", "g", generation, ids[0], nil, nil},
		{"old generation", "g", generation - 1, ids[0], nil, kerr.IllegalGeneration},
		{"other member", "g", generation, "x", nil, kerr.UnknownMemberID},
		{"other instance", "g", generation, ids[0], &instance, kerr.UnknownMemberID},
		{"group gone", "h", 1, "x", nil, kerr.IllegalGeneration},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantCode(t, "check", code(g.m.checkTxnOffsets(test.group, test.generation, test.member, test.instance)), test.want)
		})
	}
	p := g.m.topics.byName["t"].partitions[2]
	g.m.applyOffsets("g", []txnOffset{{partition: p, offset: 99, leaderEpoch: -1}})
	if n := g.committed("t", 2); n != 99 {
		t.Fatalf("a transaction's offset is %d", n)
	}
}

func TestForgetOffsets(t *testing.T) {
	g := newGroupRig(t)
	g.commit(commitRequest("", -1, "t", 0, 1), nil)
	g.commit(commitRequest("", -1, "u", 0, 2), nil)
	g.m.forgetTopic(g.m.topics.byName["t"])
	if g.committed("t", 0) != -1 || g.committed("u", 0) != 2 {
		t.Fatal("the wrong offset is forgotten")
	}
}

// Offsets outlive the process; members do not, nor do groups without offsets.
func TestGroupsAfterRestart(t *testing.T) {
	g := newGroupRig(t)
	long, meta := strings.Repeat("n", maxGroupName), "here"
	for _, group := range []string{"g", "", long} {
		req := commitRequest("", -1, "t", 2, 77)
		req.Group, req.Topics[0].Partitions[0].Metadata = group, &meta
		g.commit(req, nil)
	}
	g.commit(commitRequest("", -1, "u", 0, 5), nil)
	g.m.dropOffset(g.m.groups.byName["g"], g.m.topics.byName["u"].partitions[0])
	ids, generation := g.stable(1)
	req := joinRequest("", nil)
	req.Group = "idle"
	g.send(req)
	bytes := g.m.groups.bytes
	g.load()
	if n := len(g.m.groups.byName); n != 3 {
		t.Fatalf("%d groups are back, want 3", n)
	}
	if g.committed("t", 2) != 77 || g.committed("u", 0) != -1 || g.state() != "Empty" {
		t.Fatal("offsets are not what they were")
	}
	if o := g.m.groups.byName[long].offsets[g.m.topics.byName["t"].partitions[2]]; o != (groupOffset{77, -1, meta}) {
		t.Fatalf("offset is %+v", o)
	}
	if now := g.m.groups.bytes; now <= 0 || now >= bytes {
		t.Fatalf("groups took %d bytes with members, and take %d without", bytes, now)
	}
	g.beat(ids[0], nil, generation, kerr.UnknownMemberID)
	g.commit(commitRequest(ids[0], generation, "t", 2, 1), kerr.UnknownMemberID)
	// A topic made anew starts without offsets.
	topic := g.m.topics.byName["t"]
	g.m.remove(topic)
	g.m.create("t", 4, map[string]string{})
	g.settle()
	if n := g.committed("t", 2); n != -1 {
		t.Fatalf("offset is %d in a topic made anew", n)
	}
	g.load()
	if n := len(g.m.groups.byName); n != 1 {
		t.Fatalf("%d groups are back, want the one that had members", n)
	}
	g.pass(groupLinger)
	g.load()
	if n := len(g.m.groups.byName); n != 0 {
		t.Fatalf("%d groups are back, want none", n)
	}
}

func TestGroupsReadOnly(t *testing.T) {
	g := newGroupRig(t)
	g.m.readOnly = errors.New("disk is full")
	g.commit(commitRequest("", -1, "t", 0, 1), kerr.CoordinatorNotAvailable)
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"g"}
	wantCode(t, "DeleteGroups", g.send(del).resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, kerr.CoordinatorNotAvailable)
	od := kmsg.NewPtrOffsetDeleteRequest()
	wantCode(t, "OffsetDelete", g.send(od).resp.(*kmsg.OffsetDeleteResponse).ErrorCode, kerr.CoordinatorNotAvailable)
	// Readers go on: their groups write nothing.
	g.stable(2)
	if turn := g.m.Take(); !turn.Commit.Empty() {
		t.Fatal("a group's generation is written")
	}
	g.pass(time.Hour)
	if turn := g.m.Take(); !turn.Commit.Empty() {
		t.Fatal("that a group is gone is written")
	}
}

func FuzzGroupOffset(f *testing.F) {
	f.Add(appendOffset(nil, groupOffset{offset: 42, leaderEpoch: 1<<31 - 1, metadata: "here"}), offsetKey("g", 7))
	f.Add(appendOffset(nil, groupOffset{offset: -1, leaderEpoch: -1}), offsetKey("", 1))
	f.Fuzz(func(t *testing.T, value, key []byte) {
		if o, err := decodeOffset(value); err == nil {
			again, err := decodeOffset(appendOffset(nil, o))
			if err != nil || again != o {
				t.Fatalf("%+v reads back as %+v: %v", o, again, err)
			}
		}
		if group, p, ofPartition, err := parseGroupKey(key); err == nil && len(key) > 0 && key[0] == keyGroup {
			again := groupKey(group)
			if ofPartition {
				again = offsetKey(group, p)
			}
			if string(again) != string(key) {
				t.Fatalf("key %q is group %q, partition %d: %v", key, group, p, ofPartition)
			}
		}
		if n, err := decodeGeneration(value); err == nil {
			if again, err := decodeGeneration(appendGeneration(nil, n)); err != nil || again != n {
				t.Fatalf("generation %d reads back as %d: %v", n, again, err)
			}
		}
	})
}

// Offsets that a transaction holds are no offsets yet: who wants a stable one
// has to wait, and the group cannot be deleted meanwhile.
func TestOffsetFetchStable(t *testing.T) {
	g := newGroupRig(t)
	g.commit(commitRequest("", -1, "t", 0, 1), nil)
	init := kmsg.NewPtrInitProducerIDRequest()
	init.Version, init.TransactionTimeoutMillis, init.TransactionalID = 4, 60_000, text("x")
	producer := g.send(init).resp.(*kmsg.InitProducerIDResponse)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.Version, add.TransactionalID, add.Group = 3, "x", "g"
	add.ProducerID, add.ProducerEpoch = producer.ProducerID, producer.ProducerEpoch
	wantCode(t, "AddOffsetsToTxn", g.send(add).resp.(*kmsg.AddOffsetsToTxnResponse).ErrorCode, nil)
	hold := kmsg.NewPtrTxnOffsetCommitRequest()
	hold.Version, hold.TransactionalID, hold.Group, hold.Generation = 3, "x", "g", -1
	hold.ProducerID, hold.ProducerEpoch = producer.ProducerID, producer.ProducerEpoch
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic = "t"
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Offset = 2
	rt.Partitions = append(rt.Partitions, rp)
	hold.Topics = append(hold.Topics, rt)
	wantCode(t, "TxnOffsetCommit", g.send(hold).resp.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, nil)

	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Version = 8
	fetch.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}, {Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 1}}}}}
	see := func(stable bool, offset int64, want *kerr.Error) {
		t.Helper()
		fetch.RequireStable = stable
		for _, rg := range g.send(fetch).resp.(*kmsg.OffsetFetchResponse).Groups {
			p := rg.Topics[0].Partitions[0]
			wantCode(t, "OffsetFetch", p.ErrorCode, want)
			if p.Offset != offset {
				t.Fatalf("offset is %d, want %d", p.Offset, offset)
			}
		}
	}
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"g"}
	for range 2 { // the second time after a restart
		see(false, 1, nil)
		see(true, -1, kerr.UnstableOffsetCommit)
		wantCode(t, "DeleteGroups", g.send(del).resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, kerr.NonEmptyGroup)
		g.load()
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.Commit = 3, "x", true
	end.ProducerID, end.ProducerEpoch = producer.ProducerID, producer.ProducerEpoch
	wantCode(t, "EndTxn", g.send(end).resp.(*kmsg.EndTxnResponse).ErrorCode, nil)
	see(true, 2, nil)
	g.load()
	see(true, 2, nil)
}

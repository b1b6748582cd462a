package core

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

func TestAddPartitionsForBrokers(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 2)
	by := r.init("x", nobody, nil)
	ask := func(version int16, verify bool, partitions ...int32) []int16 {
		t.Helper()
		x := kmsg.NewAddPartitionsToTxnRequestTransaction()
		x.TransactionalID, x.ProducerID, x.ProducerEpoch, x.VerifyOnly = "x", by.producer, by.epoch, verify
		xt := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		xt.Topic, xt.Partitions = "t", partitions
		x.Topics = append(x.Topics, xt)
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.Version, req.Transactions = version, append(req.Transactions, x)
		var codes []int16
		for _, p := range do[*kmsg.AddPartitionsToTxnResponse](r, req).Transactions[0].Topics[0].Partitions {
			codes = append(codes, p.ErrorCode)
		}
		return codes
	}
	for _, c := range []struct {
		version    int16
		verify     bool
		partitions []int32
		want       []*kerr.Error
	}{
		{4, true, []int32{0}, []*kerr.Error{kerr.TransactionAbortable}},
		{5, true, []int32{0}, []*kerr.Error{kerr.TransactionAbortable}},
		{5, false, []int32{0, 2}, []*kerr.Error{kerr.OperationNotAttempted, kerr.UnknownTopicOrPartition}},
		{5, true, []int32{0}, []*kerr.Error{kerr.TransactionAbortable}},
		{5, false, []int32{0}, []*kerr.Error{nil}},
		{5, true, []int32{0, 1}, []*kerr.Error{nil, kerr.TransactionAbortable}},
	} {
		var want []int16
		for _, err := range c.want {
			want = append(want, code(err))
		}
		if got := ask(c.version, c.verify, c.partitions...); !reflect.DeepEqual(got, want) {
			t.Errorf("version %d, verify %v, partitions %v: %v, want %v", c.version, c.verify, c.partitions, got, want)
		}
	}
}

// A fenced producer hears it by the name that its version of a request has.
func TestFencedNames(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	old := r.init("x", nobody, nil)
	r.init("x", nobody, nil)
	for _, c := range []struct {
		req  kmsg.Request
		want *kerr.Error
	}{
		{&kmsg.InitProducerIDRequest{Version: 3}, kerr.InvalidProducerEpoch},
		{&kmsg.InitProducerIDRequest{Version: 4}, kerr.ProducerFenced},
		{&kmsg.AddPartitionsToTxnRequest{Version: 1}, kerr.InvalidProducerEpoch},
		{&kmsg.AddPartitionsToTxnRequest{Version: 2}, kerr.ProducerFenced},
		{&kmsg.AddOffsetsToTxnRequest{Version: 1}, kerr.InvalidProducerEpoch},
		{&kmsg.AddOffsetsToTxnRequest{Version: 2}, kerr.ProducerFenced},
		{&kmsg.EndTxnRequest{Version: 1}, kerr.InvalidProducerEpoch},
		{&kmsg.EndTxnRequest{Version: 2}, kerr.ProducerFenced},
	} {
		var got int16
		switch req := c.req.(type) {
		case *kmsg.InitProducerIDRequest:
			version := req.Version
			*req = *initRequest("x", time.Minute, old)
			req.Version = version
			got = do[*kmsg.InitProducerIDResponse](r, req).ErrorCode
		case *kmsg.AddPartitionsToTxnRequest:
			version := req.Version
			*req = *addRequest("x", old, "t", 0)
			req.Version = version
			got = do[*kmsg.AddPartitionsToTxnResponse](r, req).Topics[0].Partitions[0].ErrorCode
		case *kmsg.AddOffsetsToTxnRequest:
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = "x", old.producer, old.epoch, "g"
			got = do[*kmsg.AddOffsetsToTxnResponse](r, req).ErrorCode
		case *kmsg.EndTxnRequest:
			got = do[*kmsg.EndTxnResponse](r, endRequest(req.Version, "x", old, true)).ErrorCode
		}
		if got != c.want.Code {
			t.Errorf("%T version %d: %v, want %v", c.req, c.req.GetVersion(), kerr.ErrorForCode(got), c.want)
		}
	}
}

func TestWriteTxnMarkers(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 2)
	by := r.init("x", nobody, nil)
	mark := func(epoch int16, commit bool, partition int32) int16 {
		t.Helper()
		w := kmsg.NewWriteTxnMarkersRequestMarker()
		w.ProducerID, w.ProducerEpoch, w.Committed = by.producer, epoch, commit
		wt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		wt.Topic, wt.Partitions = "t", []int32{partition}
		w.Topics = append(w.Topics, wt)
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version, req.Markers = 1, append(req.Markers, w)
		got := do[*kmsg.WriteTxnMarkersResponse](r, req).Markers[0]
		if got.ProducerID != by.producer {
			t.Errorf("answered for producer %d", got.ProducerID)
		}
		return got.Topics[0].Partitions[0].ErrorCode
	}
	r.want("marker for nobody", mark(0, true, 0), nil)
	r.want("marker nowhere", mark(0, true, 2), kerr.UnknownTopicOrPartition)
	r.produce(12, "x", "t", 0, r.batchOf(by, 0, true, "a"), nil)
	r.produce(12, "x", "t", 1, r.batchOf(by, 0, true, "b"), nil)
	r.want("commit of a part", mark(0, true, 0), kerr.InvalidTxnState)
	r.want("abort of a part", mark(0, false, 0), nil)
	r.end(4, "x", by, true, kerr.ProducerFenced)
	r.want("late abort", mark(0, false, 1), kerr.InvalidProducerEpoch)
	for p := range int32(2) {
		if got := r.committed("t", p); got != nil {
			t.Errorf("partition %d has %q", p, got)
		}
	}
}

func TestDescribeTransactions(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 2)
	by := r.init("x", nobody, nil)
	r.init("y", nobody, nil)
	describe := func(id string) kmsg.DescribeTransactionsResponseTransactionState {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{id}
		return do[*kmsg.DescribeTransactionsResponse](r, req).TransactionStates[0]
	}
	list := func(version int16, change func(*kmsg.ListTransactionsRequest)) (ids []string) {
		req := kmsg.NewPtrListTransactionsRequest()
		req.Version = version
		change(req)
		for _, s := range do[*kmsg.ListTransactionsResponse](r, req).TransactionStates {
			ids = append(ids, s.TransactionalID)
		}
		return ids
	}
	r.want("no such id", describe("z").ErrorCode, kerr.TransactionalIDNotFound)
	r.want("no id", describe("").ErrorCode, kerr.InvalidRequest)
	if got := describe("x"); got.State != "Empty" || got.StartTimestamp != -1 || got.TimeoutMillis != 60_000 || len(got.Topics) != 0 {
		t.Errorf("before: %+v", got)
	}
	began := r.now.UnixMilli()
	r.produce(12, "x", "t", 1, r.batchOf(by, 0, true, "a"), nil)
	r.pass(time.Second)
	r.load(true, false)
	got := describe("x")
	if got.State != "Ongoing" || got.StartTimestamp != began || got.ProducerID != by.producer || got.ProducerEpoch != by.epoch ||
		len(got.Topics) != 1 || got.Topics[0].Topic != "t" || !reflect.DeepEqual(got.Topics[0].Partitions, []int32{1}) {
		t.Errorf("open: %+v", got)
	}
	pattern, bad := "[x]", "["
	for name, c := range map[string]struct {
		version int16
		change  func(*kmsg.ListTransactionsRequest)
		want    []string
	}{
		"all":           {0, func(*kmsg.ListTransactionsRequest) {}, []string{"x", "y"}},
		"state":         {0, func(q *kmsg.ListTransactionsRequest) { q.StateFilters = []string{"Ongoing", "what"} }, []string{"x"}},
		"unknown state": {0, func(q *kmsg.ListTransactionsRequest) { q.StateFilters = []string{"what"} }, nil},
		"producer":      {0, func(q *kmsg.ListTransactionsRequest) { q.ProducerIDFilters = []int64{by.producer + 1} }, []string{"y"}},
		"open for long": {1, func(q *kmsg.ListTransactionsRequest) {
			q.DurationFilterMillis = 999
			q.StateFilters = []string{"Ongoing"}
		}, []string{"x"}},
		"open too short": {1, func(q *kmsg.ListTransactionsRequest) {
			q.DurationFilterMillis = 1000
			q.StateFilters = []string{"Ongoing"}
		}, nil},
		"pattern":     {2, func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = &pattern }, []string{"x"}},
		"bad pattern": {2, func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = &bad }, nil},
	} {
		if got := list(c.version, c.change); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}

	// Of a producer whose end has raised the epoch, the marker is what is known.
	r.end(5, "x", by, true, nil)
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{1}}}
	active := do[*kmsg.DescribeProducersResponse](r, producers).Topics[0].Partitions[0].ActiveProducers
	if len(active) != 1 || active[0].LastSequence != -1 || active[0].LastTimestamp != r.now.UnixMilli() || active[0].CurrentTxnStartOffset != -1 {
		t.Errorf("after the end: %+v, want the marker's time", active)
	}
}

// While nothing can be written, requests that would write are refused so that
// clients come again, and what is due waits.
func TestUnwritable(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	by := r.init("x", nobody, nil)
	r.produce(12, "x", "t", 0, r.batchOf(by, 0, true, "a"), nil)
	r.m.readOnly = errors.New("disk full")
	r.produce(12, "x", "t", 0, r.batchOf(by, 1, true, "b"), kerr.KafkaStorageError)
	r.init("x", nobody, kerr.CoordinatorNotAvailable)
	r.add("x", by, "t", 0, kerr.CoordinatorNotAvailable)
	r.end(5, "x", by, true, kerr.CoordinatorNotAvailable)
	// Longer than the transaction may be open, and than anybody is remembered.
	for range 3 {
		r.pass(transactionExpiry)
		if turn := r.m.Take(); !turn.Commit.Empty() {
			t.Fatal("something is written")
		}
	}
	r.m.readOnly = nil
	r.pass(unwritable)
	r.settle()
	r.end(5, "x", by, true, kerr.ProducerFenced)
	if got := r.committed("t", 0); got != nil {
		t.Errorf("%q is seen", got)
	}
}

// Who is forgotten for want of room is who was unused for longest, and no open
// transaction.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("fills the memory that is allowed")
	}
	r := newTxnRig(t)
	r.topic("t", 1)
	first := r.init("first", nobody, nil)
	r.init("second", nobody, nil)
	r.produce(12, "first", "t", 0, r.batchOf(first, 0, true, "a"), nil)
	p := r.m.topics.byName["t"].partitions[0]
	for i := range int64(maxSequences) {
		r.m.sequencesOf(p, 1<<40+i, 0)
		r.m.turn, r.m.producers.changed = Turn{}, nil
	}
	if n := len(p.producers); n != maxSequences || p.producers[first.producer] == nil || p.producers[1<<40] != nil {
		t.Errorf("%d producers are known, of %d the first and %v the next", n, maxSequences, p.producers[1<<40])
	}
	for i := range maxTransactions {
		x := &transaction{id: time.Duration(i).String(), last: nobody}
		r.m.producers.transactions[x.id] = x
		r.m.touchTransaction(x)
		r.m.turn, r.m.producers.touched = Turn{}, nil
	}
	all := r.m.producers.transactions
	if n := len(all); n != maxTransactions || all["first"] == nil || all["second"] != nil {
		t.Errorf("%d transactional ids are known, of %d", n, maxTransactions)
	}
}

// A group waits for all transactions that hold offsets of it, and for no other.
func TestOffsetsPending(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 2)
	by := map[string]incarnation{}
	for i, id := range []string{"x", "y"} {
		by[id] = r.init(id, nobody, nil)
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = 5, id, by[id].producer, by[id].epoch, "g", -1
		long := string(make([]byte, maxOffsetMetadata+1))
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic = "t"
		for _, index := range []int32{int32(i), 1 - int32(i), 2} {
			rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset = index, 7
			if index == 1-int32(i) {
				rp.Metadata = &long
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		got := do[*kmsg.TxnOffsetCommitResponse](r, req).Topics[0].Partitions
		for j, want := range []*kerr.Error{nil, kerr.OffsetMetadataTooLarge, kerr.UnknownTopicOrPartition} {
			r.want("commit offsets", got[j].ErrorCode, want)
		}
	}
	for _, step := range []struct {
		ends              string
		first, second, of bool
	}{{"", true, true, true}, {"x", false, true, true}, {"y", false, false, false}} {
		if step.ends != "" {
			r.end(5, step.ends, by[step.ends], false, nil)
		}
		r.load(false, false)
		ps := r.m.topics.byName["t"].partitions
		if a, b, c := r.m.offsetsPending("g", ps[0]), r.m.offsetsPending("g", ps[1]), r.m.groupPending("g"); a != step.first || b != step.second || c != step.of {
			t.Errorf("after the end of %q: %v, %v, %v", step.ends, a, b, c)
		}
	}
	x, _ := r.m.transaction("x", by["x"].producer, by["x"].epoch+1)
	for _, id := range []string{"y", "x"} {
		r.m.holdOffsets(r.m.producers.transactions[id], "h")
	}
	r.m.releaseOffsets(x, "h")
	if _, ok := r.m.producers.offsets["h"][x]; ok || !r.m.groupPending("h") {
		t.Error("the wrong one is released")
	}
}

// What is aborted is found by any part of the transaction.
func TestAborted(t *testing.T) {
	r := newTxnRig(t)
	r.topic("t", 1)
	x, y := r.init("x", nobody, nil), r.init("y", nobody, nil)
	put := func(id string, by incarnation, seq int32) {
		t.Helper()
		r.produce(12, id, "t", 0, r.batchOf(by, seq, true, "v"), nil)
	}
	put("x", x, 0)                                                                     // 0
	put("y", y, 0)                                                                     // 1
	put("y", y, 1)                                                                     // 2
	y = r.end(5, "y", y, false, nil)                                                   // 3
	put("y", y, 0)                                                                     // 4
	r.end(5, "y", y, true, nil)                                                        // 5
	put("x", x, 1)                                                                     // 6
	r.end(5, "x", x, false, nil)                                                       // 7
	r.produce(9, "", "t", 0, sent{by: nobody, seq: -1, n: 1, value: []byte("v")}, nil) // 8
	ofX, ofY := AbortedTransaction{x.producer, 0, 7}, AbortedTransaction{y.producer, 1, 3}
	id := r.m.topics.byName["t"].partitions[0].id
	for _, c := range []struct {
		from, below int64
		want        []AbortedTransaction
	}{
		{0, 9, []AbortedTransaction{ofY, ofX}},
		{0, 1, []AbortedTransaction{ofX}},
		{2, 3, []AbortedTransaction{ofY, ofX}},
		{3, 4, []AbortedTransaction{ofY, ofX}},
		{4, 5, []AbortedTransaction{ofX}},
		{7, 8, []AbortedTransaction{ofX}},
		{8, 9, nil},
	} {
		got, err := Aborted(r.disk, id, c.from, c.below)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("from %d below %d: %v, %v; want %v", c.from, c.below, got, err, c.want)
		}
	}
}

func FuzzSequences(f *testing.F) {
	s := &sequences{epoch: 3, open: 9, used: 1_800_000_000_000, count: 1}
	s.batches[0] = keptBatch{first: 1, last: 2, base: 9, time: -1}
	f.Add(s.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, again sequences
		if got.parse(data) != nil {
			return
		}
		if err := again.parse(got.append(nil)); err != nil || again != got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}

func FuzzTransaction(f *testing.F) {
	byID := map[store.Partition]*partition{1: {id: 1}, 2: {id: 2}}
	x := &transaction{now: incarnation{4, 5}, last: nobody, timeout: time.Minute, state: ongoing, started: 1, used: 2}
	x.add(byID[2])
	x.groups = append(x.groups, &txnGroup{name: "g", offsets: map[*partition]txnOffset{byID[1]: {partition: byID[1], offset: 7, leaderEpoch: -1, metadata: "m"}}})
	f.Add(x.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, again transaction
		if got.parse(data, byID) != nil {
			return
		}
		if err := again.parse(got.append(nil), byID); err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}

func FuzzAborted(f *testing.F) {
	f.Add(appendAborted(nil, 3, 8))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, stable, err := parseAborted(data)
		if err != nil {
			return
		}
		if f, s, err := parseAborted(appendAborted(nil, first, stable)); err != nil || f != first || s != stable {
			t.Fatalf("%d, %d became %d, %d, %v", first, stable, f, s, err)
		}
	})
}

package core

import (
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/store"
)

// txnRig is a machine over a store in memory, with a clock that is turned by
// hand. What is asked is answered, and checked, when the turn is settled.
type txnRig struct {
	t     testing.TB
	m     *Machine
	disk  *store.Store
	view  *View
	now   time.Time
	check []func()
}

func newTxnRig(t testing.TB) *txnRig {
	t.Helper()
	disk, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "broker", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Close() })
	r := &txnRig{t: t, disk: disk, view: NewView(), now: time.UnixMilli(1_800_000_000_000)}
	r.load(false, false)
	return r
}

// load makes the machine anew of what is written, as after a kill.
func (r *txnRig) load(unclean, powerLost bool) {
	r.t.Helper()
	cfg := Config{ClusterID: "c", Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, FutureLimit: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	m, err := Load(cfg, r.view, r.disk, r.now, unclean, powerLost)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	r.settle()
}

// settle ends the turn: it is written, and the answers and news go out.
func (r *txnRig) settle() {
	r.t.Helper()
	turn := r.m.Take()
	if !turn.Commit.Empty() {
		if _, err := r.disk.Write(&turn.Commit); err != nil {
			r.t.Fatal(err)
		}
	}
	release(turn.Relaxed)
	release(turn.Publish)
	release(turn.Durable)
	checks := r.check
	r.check = nil
	release(checks)
}

// pass turns the clock.
func (r *txnRig) pass(d time.Duration) {
	r.now = r.now.Add(d)
	r.m.Tick(r.now)
}

// send hands a request to the machine; see checks the answer, which is as it
// comes over the wire.
func (r *txnRig) send(req kmsg.Request, see func(kmsg.Response)) {
	r.t.Helper()
	var got kmsg.Response
	r.m.Handle(r.now, &Request{Body: req, Answer: func(resp kmsg.Response) {
		if got != nil {
			r.t.Fatalf("%T is answered twice", req)
		}
		got = req.ResponseKind()
		got.SetVersion(req.GetVersion())
		if err := got.ReadFrom(resp.AppendTo(nil)); err != nil {
			r.t.Fatalf("%T version %d: %v", resp, req.GetVersion(), err)
		}
	}, Dropped: func() { r.t.Fatalf("%T is dropped", req) }})
	r.check = append(r.check, func() {
		if got == nil {
			r.t.Fatalf("%T is not answered", req)
		}
		see(got)
	})
}

// do sends a request in a turn of its own and returns the answer.
func do[R kmsg.Response](r *txnRig, req kmsg.Request) (resp R) {
	r.t.Helper()
	r.send(req, func(got kmsg.Response) { resp = got.(R) })
	r.settle()
	return resp
}

func (r *txnRig) topic(name string, partitions int32, config ...string) *topic {
	r.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{newTopic(name, partitions, config...)}
	if got := do[*kmsg.CreateTopicsResponse](r, req).Topics[0].ErrorCode; got != 0 {
		r.t.Fatal(kerr.ErrorForCode(got))
	}
	return r.m.topics.byName[name]
}

// sent is a batch as a producer makes it.
type sent struct {
	by            incarnation
	seq           int32
	n             int
	transactional bool
	time          int64
	value         []byte // of each record
	key           []byte
}

func (b sent) encode() []byte {
	var records []byte
	for i := range b.n {
		rec := kmsg.Record{OffsetDelta: int32(i), Key: b.key, Value: b.value}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1)
		records = rec.AppendTo(records)
	}
	rb := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(b.n - 1), FirstTimestamp: b.time, MaxTimestamp: b.time,
		ProducerID: b.by.producer, ProducerEpoch: b.by.epoch, FirstSequence: b.seq, NumRecords: int32(b.n), Records: records,
	}
	if b.transactional {
		rb.Attributes = 0x10
	}
	raw := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func produceRequest(version int16, id, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = version, -1
	if id != "" {
		req.TransactionID = &id
	}
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func initRequest(id string, timeout time.Duration, as incarnation) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, int32(timeout.Milliseconds()), as.producer, as.epoch
	if id != "" {
		req.TransactionalID = &id
	}
	return req
}

func addRequest(id string, as incarnation, topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, id, as.producer, as.epoch
	rt := kmsg.NewAddPartitionsToTxnRequestTopic()
	rt.Topic, rt.Partitions = topic, partitions
	req.Topics = append(req.Topics, rt)
	return req
}

func endRequest(version int16, id string, as incarnation, commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, id, as.producer, as.epoch, commit
	return req
}

// produce sends a batch and returns where it stands.
func (r *txnRig) produce(version int16, id, topic string, partition int32, b sent, want *kerr.Error) int64 {
	r.t.Helper()
	got := do[*kmsg.ProduceResponse](r, produceRequest(version, id, topic, partition, b.encode())).Topics[0].Partitions[0]
	r.want("produce", got.ErrorCode, want)
	return got.BaseOffset
}

func (r *txnRig) init(id string, as incarnation, want *kerr.Error) incarnation {
	r.t.Helper()
	got := do[*kmsg.InitProducerIDResponse](r, initRequest(id, time.Minute, as))
	r.want("init", got.ErrorCode, want)
	return incarnation{producer: got.ProducerID, epoch: got.ProducerEpoch}
}

func (r *txnRig) add(id string, as incarnation, topic string, partition int32, want *kerr.Error) {
	r.t.Helper()
	got := do[*kmsg.AddPartitionsToTxnResponse](r, addRequest(id, as, topic, partition))
	r.want("add", got.Topics[0].Partitions[0].ErrorCode, want)
}

func (r *txnRig) end(version int16, id string, as incarnation, commit bool, want *kerr.Error) incarnation {
	r.t.Helper()
	got := do[*kmsg.EndTxnResponse](r, endRequest(version, id, as, commit))
	r.want("end", got.ErrorCode, want)
	return incarnation{producer: got.ProducerID, epoch: got.ProducerEpoch}
}

func (r *txnRig) want(what string, got int16, want *kerr.Error) {
	r.t.Helper()
	if got != code(want) {
		r.t.Fatalf("%s: %v, want %v", what, kerr.ErrorForCode(got), want)
	}
}

// committed reads a partition as a client does that wants committed records: the
// values of each batch.
func (r *txnRig) committed(topic string, partition int32) (values []string) {
	r.t.Helper()
	t, _ := r.view.Topic(topic)
	l := t.Partitions[partition]
	state := l.State()
	if state.Start == state.Stable {
		return nil // the start may lie within a batch
	}
	var gone []AbortedTransaction
	if state.Aborted {
		var err error
		if gone, err = Aborted(r.disk, l.ID, state.Start, state.Stable); err != nil {
			r.t.Fatal(err)
		}
		slices.SortFunc(gone, func(a, b AbortedTransaction) int { return int(a.First - b.First) })
	}
	all, err := r.disk.Read(l.ID, state.Start, state.Stable, 1<<30, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[int64]bool{}
	for len(all) > 0 {
		h, err := batch.Parse(all)
		if err != nil {
			r.t.Fatal(err)
		}
		for len(gone) > 0 && gone[0].First <= h.BaseOffset {
			out[gone[0].Producer] = true
			gone = gone[1:]
		}
		switch {
		case h.Control():
			delete(out, h.ProducerID)
		case h.Transactional() && out[h.ProducerID]:
		default:
			if err := batch.Records(all, h, func(rec batch.Record) bool {
				values = append(values, string(rec.Value))
				return false
			}); err != nil {
				r.t.Fatal(err)
			}
		}
		all = all[h.Size:]
	}
	return values
}

package server

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// stopped is a clock that stands: what nobody waits for is never synced, nor shown.
type stopped struct{}

func (stopped) Now() time.Time                         { return time.Unix(1_700_000_000, 0) }
func (stopped) After(d time.Duration) <-chan time.Time { return make(chan time.Time) }

// testBroker is a server on a core and a store in memory.
func testBroker(t *testing.T, limits Limits) (*Server, *core.Runner) {
	t.Helper()
	disk, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "broker"})
	if err != nil {
		t.Fatal(err)
	}
	view := core.NewView()
	cfg := core.Config{Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, Logger: slog.New(slog.DiscardHandler)}
	run, err := core.Start(cfg, disk, view, stopped{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Submit: run.Submit, View: view, Reader: disk, Limits: limits, Metrics: NewMetrics(nil), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		s.Close()
		run.Close()
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, run
}

// ask has the core answer a request.
func ask[R kmsg.Response](t *testing.T, run *core.Runner, req kmsg.Request, version int16) R {
	t.Helper()
	req.SetVersion(version)
	answer := make(chan kmsg.Response, 1)
	err := run.Submit(t.Context(), &core.Request{Body: req, Answer: func(r kmsg.Response) { answer <- r }, Dropped: func() { close(answer) }})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case resp := <-answer:
		return resp.(R)
	case <-time.After(20 * time.Second):
		t.Fatalf("%T is not answered", req)
		panic("not reached")
	}
}

// testBatch is a record batch of one record.
func testBatch() []byte {
	record := []byte{0, 0, 0, 1, 2, 'v', 0}
	b := append(make([]byte, 61), byte(len(record)<<1))
	b = append(b, record...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	now := uint64(stopped{}.Now().UnixMilli())
	binary.BigEndian.PutUint64(b[27:], now)
	binary.BigEndian.PutUint64(b[35:], now)
	binary.BigEndian.PutUint64(b[43:], ^uint64(0)) // no producer
	binary.BigEndian.PutUint32(b[57:], 1)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func testFetch(offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.SessionEpoch = 12, 1, 1<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = "t"
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = offset, 1<<20, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// createTopic has the topic "t" created.
func createTopic(t *testing.T, run *core.Runner) {
	t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	meta.AllowAutoTopicCreation = true
	name := "t"
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	if code := ask[*kmsg.MetadataResponse](t, run, meta, 9).Topics[0].ErrorCode; code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
}

// produceOne has a batch of one record written, and returns its size in bytes.
func produceOne(t *testing.T, run *core.Runner) int {
	t.Helper()
	produce := kmsg.NewPtrProduceRequest()
	produce.Acks = -1
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic = "t"
	pp := kmsg.NewProduceRequestTopicPartition()
	pp.Records = testBatch()
	pt.Partitions = append(pt.Partitions, pp)
	produce.Topics = append(produce.Topics, pt)
	if p := ask[*kmsg.ProduceResponse](t, run, produce, 12).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(p.ErrorCode))
	}
	return len(pp.Records)
}

// late is a store that does something before it reads.
type late struct {
	*store.Store
	first func()
}

func (l late) ReadInto(p store.Partition, from, below int64, max int, take func(int) []byte) ([]byte, error) {
	l.first()
	return l.Store.ReadInto(p, from, below, max, take)
}

// heldUp is a store whose syncs wait.
type heldUp struct {
	*store.Store
	gate chan struct{}
}

func (h heldUp) Sync(m store.Mark) error {
	<-h.gate
	return h.Store.Sync(m)
}

// Records that are deleted while a fetch reads leave no silent gap, even before
// their deletion is on the disk.
func TestFetchWhileRecordsAreDeleted(t *testing.T) {
	disk, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "broker"})
	if err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{}, 100)
	for range cap(open) {
		open <- struct{}{}
	}
	view := core.NewView()
	cfg := core.Config{Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, Logger: slog.New(slog.DiscardHandler)}
	run, err := core.Start(cfg, heldUp{disk, open}, view, stopped{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	reader := late{disk, func() {}}
	s := New(Config{Submit: run.Submit, View: view, Reader: &reader, Metrics: NewMetrics(nil), Logger: slog.New(slog.DiscardHandler)})
	defer func() {
		s.Close()
		close(open)
		run.Close()
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	createTopic(t, run)
	for range 3 {
		produceOne(t, run)
	}
	for len(open) > 0 {
		<-open // no sync ends from here on
	}
	known, _ := view.Topic("t")
	reader.first = func() {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version = 2
		dt := kmsg.NewDeleteRecordsRequestTopic()
		dt.Topic = "t"
		dt.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 2}}
		req.Topics = append(req.Topics, dt)
		if err := run.Submit(t.Context(), &core.Request{Body: req, Answer: func(kmsg.Response) {}, Dropped: func() {}}); err != nil {
			t.Error(err)
		}
		for first := int64(0); first < 2; {
			first, _, _ = disk.Bounds(known.Partitions[0].ID)
		}
	}
	got := s.fetch(t.Context(), testFetch(0), &held{budget: s.answers}).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if got.ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Errorf("code %d with %d bytes, want %d", got.ErrorCode, len(got.RecordBatches), kerr.OffsetOutOfRange.Code)
	}
}

// A fetch holds its place in line for no longer than a client may stall, and what
// it answers with is counted until it is sent.
func TestFetchLimits(t *testing.T) {
	s, run := testBroker(t, Limits{Stall: 20 * time.Millisecond})
	createTopic(t, run)
	long := testFetch(0)
	long.MaxWaitMillis = 1<<31 - 1
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	_ = s.fetch(ctx, long, &held{budget: s.answers})
	if ctx.Err() != nil {
		t.Fatal("a fetch waits for as long as the client likes")
	}

	size := int64(produceOne(t, run))
	began := s.answers.free()
	sent := &held{budget: s.answers}
	_ = s.fetch(ctx, testFetch(0), sent)
	if now := s.answers.free(); now != began-size {
		t.Fatalf("%d bytes are free, want %d", now, began-size)
	}
	sent.release()
	if now := s.answers.free(); now != began {
		t.Fatalf("%d bytes are free, want %d", now, began)
	}
}

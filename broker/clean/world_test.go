package clean

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// clock is turned by hand; only what waits for nobody waits for real.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

const topic = "t"

// world is a broker without connections, with one topic of one partition, on a
// disk that can lose power.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	clock *clock
	disk  *vfs.MemFS
	boots int
	keys  int

	store   *store.Store
	view    *core.View
	runner  *core.Runner
	cleaner *Cleaner
	// kill, when positive, counts the cleaner's steps down; at zero its process is
	// killed, before the step or after it.
	kill  int
	after bool
	clone *vfs.MemFS
	power bool // a kill loses power, and with it what is not synced
}

func newWorld(t *testing.T, rng *rand.Rand, keys int, config ...string) *world {
	w := &world{t: t, rng: rng, keys: keys, disk: vfs.NewCrashableMem(), clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	w.open()
	t.Cleanup(w.close)
	req := kmsg.NewPtrCreateTopicsRequest()
	nt := kmsg.NewCreateTopicsRequestTopic()
	nt.Topic, nt.NumPartitions, nt.ReplicationFactor = topic, 1, 1
	for i := 0; i < len(config); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = config[i], &config[i+1]
		nt.Configs = append(nt.Configs, c)
	}
	req.Topics = append(req.Topics, nt)
	if got := do[*kmsg.CreateTopicsResponse](w, req).Topics[0]; got.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(got.ErrorCode), *got.ErrorMessage)
	}
	return w
}

func (w *world) open() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Options{FS: w.disk, Dir: "data", FileSize: 1 << 20, BootID: strconv.Itoa(w.boots), Logger: log})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.view = s, core.NewView()
	cfg := core.Config{ClusterID: "c", Host: "localhost", DefaultPartitions: 1, MinSession: time.Second, Logger: log}
	if w.runner, err = core.Start(cfg, s, w.view, w.clock, func() {}); err != nil {
		w.t.Fatal(err)
	}
	w.kill = 0
	w.cleaner = New(Config{Machine: w, Store: s, Clock: w.clock, Keys: w.keys, Logger: log})
}

func (w *world) close() {
	w.runner.Close()
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// crash kills the process now, or as it was when a kill was due, and starts the
// next one.
func (w *world) crash() {
	w.t.Helper()
	w.cut()
	w.close()
	w.disk, w.clone = w.clone, nil
	if w.power {
		w.boots++
	}
	w.open()
}

func (w *world) cut() {
	if w.clone != nil {
		return
	}
	kept := 100
	if w.power {
		kept = w.rng.IntN(101)
	}
	w.clone = w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: w.rng})
}

var errKilled = errors.New("killed")

func (w *world) Cleanables(ctx context.Context) ([]core.Cleanable, error) {
	return w.runner.Cleanables(ctx)
}

func (w *world) Clean(ctx context.Context, c core.Cleaned) (bool, error) {
	w.kill--
	if w.kill == 0 && !w.after {
		w.cut()
		return false, errKilled
	}
	stands, err := w.runner.Clean(ctx, c)
	if w.kill == 0 {
		w.cut()
		return false, errKilled
	}
	return stands, err
}

// round lets the cleaner do a round, in which its process may be killed.
func (w *world) round() {
	w.t.Helper()
	if err := w.cleaner.Round(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	if w.clone != nil {
		w.crash()
	}
}

// do sends a request and waits for the answer.
func do[R kmsg.Response](w *world, req kmsg.Request) R {
	w.t.Helper()
	req.SetVersion(min(req.MaxVersion(), pinned(req)))
	answer := make(chan kmsg.Response, 1)
	r := &core.Request{Body: req, Answer: func(r kmsg.Response) { answer <- r }, Dropped: func() { close(answer) }}
	if err := w.runner.Submit(context.Background(), r); err != nil {
		w.t.Fatal(err)
	}
	resp, ok := <-answer
	if !ok {
		w.t.Fatalf("%T was dropped", req)
	}
	return resp.(R)
}

// pinned is the version in which a test sends a request: by names, and without
// implicit steps of transactions.
func pinned(req kmsg.Request) int16 {
	switch req.(type) {
	case *kmsg.ProduceRequest:
		return 11
	case *kmsg.AddPartitionsToTxnRequest, *kmsg.EndTxnRequest:
		return 3
	case *kmsg.InitProducerIDRequest:
		return 4
	}
	return math.MaxInt16
}

// producer writes records, in transactions or without an id.
type producer struct {
	id       int64 // -1 without
	epoch    int16
	sequence int32
	name     string
}

func (w *world) producer(name string) *producer {
	w.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &name, 900_000
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp := do[*kmsg.InitProducerIDResponse](w, req)
	if resp.ErrorCode != 0 {
		w.t.Fatal(kerr.ErrorForCode(resp.ErrorCode))
	}
	return &producer{id: resp.ProducerID, epoch: resp.ProducerEpoch, name: name}
}

func (w *world) begin(p *producer) {
	w.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.name, p.id, p.epoch
	rt := kmsg.NewAddPartitionsToTxnRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{0}
	req.Topics = append(req.Topics, rt)
	resp := do[*kmsg.AddPartitionsToTxnResponse](w, req)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		w.t.Fatal(kerr.ErrorForCode(code))
	}
}

func (w *world) finish(p *producer, commit bool) {
	w.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.name, p.id, p.epoch, commit
	if resp := do[*kmsg.EndTxnResponse](w, req); resp.ErrorCode != 0 {
		w.t.Fatal(kerr.ErrorForCode(resp.ErrorCode))
	}
}

// keyValue is a record; a nil value is a tombstone.
type keyValue struct{ key, value []byte }

// produce writes a batch and returns the offset of its first record.
func (w *world) produce(p *producer, codec kgo.CompressionCodec, number int16, records ...keyValue) int64 {
	w.t.Helper()
	return w.append(p, whole(w.t, p, w.clock.Now().UnixMilli(), codec, number, records...), len(records))
}

func (w *world) append(p *producer, b []byte, records int) int64 {
	w.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	if p.id >= 0 {
		req.TransactionID = &p.name
	}
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = b
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	got := do[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		w.t.Fatal(kerr.ErrorForCode(got.ErrorCode))
	}
	p.sequence += int32(records)
	return got.BaseOffset
}

// whole makes a record batch, in the codec with that number.
func whole(t *testing.T, p *producer, ms int64, codec kgo.CompressionCodec, number int16, records ...keyValue) []byte {
	t.Helper()
	var raw []byte
	for i, kv := range records {
		r := kmsg.Record{OffsetDelta: int32(i), Key: kv.key, Value: kv.value}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		raw = r.AppendTo(raw)
	}
	if number != 0 {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		small, _ := c.Compress(new(bytes.Buffer), raw)
		raw = bytes.Clone(small)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: number, LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: ms, MaxTimestamp: ms,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(records)), Records: raw,
	}
	if p.id >= 0 {
		b.ProducerID, b.ProducerEpoch, b.FirstSequence = p.id, p.epoch, p.sequence
		b.Attributes |= 0x10
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// state returns what readers may see, once all that is answered is published.
func (w *world) state() core.LogState {
	w.t.Helper()
	do[*kmsg.MetadataResponse](w, kmsg.NewPtrMetadataRequest())
	t, _ := w.view.Topic(topic)
	return t.Partitions[0].State()
}

func (w *world) partition() store.Partition {
	t, _ := w.view.Topic(topic)
	return t.Partitions[0].ID
}

// batches returns the headers of the partition's batches.
func (w *world) batches() (all []batch.Header) {
	w.t.Helper()
	b, err := w.store.Read(w.partition(), 0, math.MaxInt64, math.MaxInt32, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for len(b) > 0 {
		h, err := batch.Parse(b)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, h)
		b = b[h.Size:]
	}
	return all
}

// committed reads the partition as a client does that wants committed records
// only: it follows the aborted transactions by their markers.
func (w *world) committed() (all []batch.Record) {
	w.t.Helper()
	s := w.state()
	aborted, err := core.Aborted(w.store, w.partition(), s.Start, s.Stable)
	if err != nil {
		w.t.Fatal(err)
	}
	coming := newTransactions(aborted).coming
	skip := map[int64]bool{}
	b, err := w.store.Read(w.partition(), s.Start, s.Stable, math.MaxInt32, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for at := int64(-1); len(b) > 0; {
		h, err := batch.Parse(b)
		if err != nil || !batch.Check(b, h) {
			w.t.Fatalf("batch %+v: %v", h, err)
		}
		if h.BaseOffset <= at {
			w.t.Fatalf("batch from %d after offset %d", h.BaseOffset, at)
		}
		at = h.LastOffset()
		for len(coming) > 0 && coming[0].First <= h.LastOffset() {
			skip[coming[0].Producer] = true
			coming = coming[1:]
		}
		if h.Control() {
			if commit, ok := batch.ParseMarker(b, h); ok && !commit {
				delete(skip, h.ProducerID)
			}
		} else if !h.Transactional() || !skip[h.ProducerID] {
			if err := batch.Records(b, h, func(r batch.Record) bool {
				if r.Offset >= s.Start {
					all = append(all, r)
				}
				return true
			}); err != nil {
				w.t.Fatal(err)
			}
		}
		b = b[h.Size:]
	}
	return all
}

package kclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/test/testenv"
)

// TestEndHanging leaves a transaction hanging on a real Kafka, as it happens at
// a stop and a start: complete for its coordinator, without marker in one of its
// partitions. EndHanging ends it as the coordinator says, if it still can.
func TestEndHanging(t *testing.T) {
	server := testenv.Kafka(t)
	for _, c := range []struct {
		name string
		old  bool   // an older client's, which does not raise the epoch
		then string // what the id's last transaction after it did
		end  kgo.TransactionEndTry
		h    kclient.Hanging
		want string // records that are committed in the partition
		err  string
	}{
		{name: "committed", end: kgo.TryCommit, want: "hanging"},
		{name: "aborted", end: kgo.TryAbort},
		{name: "committed, transaction.version 1", old: true, end: kgo.TryCommit, want: "hanging"},
		{name: "aborted, transaction.version 1", old: true, end: kgo.TryAbort},
		{name: "committed, another aborted after it", end: kgo.TryCommit, then: "abort", err: "outcome is not known"},
		{name: "aborted, another committed after it", end: kgo.TryAbort, then: "commit", err: "outcome is not known"},
		{name: "committed, the id taken over after it", end: kgo.TryCommit, then: "init", err: "outcome is not known"},
		{name: "unknown is committed on demand", end: kgo.TryCommit, then: "abort", h: kclient.Hanging{CommitUnknown: true}, want: "hanging"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := &suspense{t: t, ctx: ctx, cfg: kclient.Config{Brokers: []string{server}}}
			s.open()
			h := c.h
			h.ID, h.Topics, h.Groups = s.id, []string{s.topic, s.topic + "-unknown"}, []string{"no-group", "nor-this"}
			if err := kclient.EndHanging(ctx, s.cl, h, s.logger()); err != nil {
				t.Fatalf("an id that was never used: %v", err)
			}
			s.hang(c.end, c.old)
			switch c.then {
			case "abort":
				s.transact(kgo.TryAbort)
			case "commit":
				s.transact(kgo.TryCommit)
			case "init":
				s.take()
			}
			err := kclient.EndHanging(ctx, s.cl, h, s.logger())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if stable, end := s.offsets(); stable == end {
					t.Error("what nobody knows was decided")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(s.log.String(), "left hanging is ended"); n != 1 {
				t.Fatalf("%d warnings, want 1: %s", n, &s.log)
			}
			stable, end := s.offsets()
			if stable != end {
				t.Fatalf("readers of committed records stand at %d of %d", stable, end)
			}
			if got := strings.Join(read(ctx, t, s.cfg, s.topic, end), " "); got != c.want {
				t.Errorf("committed records %q, want %q", got, c.want)
			}
			if err := kclient.EndHanging(ctx, s.cl, h, s.logger()); err != nil {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

// TestEndHangingLeavesTheLiving: who has the id still is at work while another
// one takes it over, again and again. Nothing may be ended but by its own end or
// by the fence.
func TestEndHangingLeavesTheLiving(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := &suspense{t: t, ctx: ctx, cfg: kclient.Config{Brokers: []string{testenv.Kafka(t)}}}
	s.open()
	committed := 0
	for range 20 {
		s.take(kgo.ConcurrentTransactionsBackoff(time.Millisecond))
		atWork, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for n := 0; ; n++ {
				if n == 2 {
					close(atWork)
				}
				if err := s.p.BeginTransaction(); err != nil {
					return
				}
				r := &kgo.Record{Topic: s.topic, Partition: 0, Value: []byte("x")}
				one := s.p.ProduceSync(ctx, r).FirstErr()
				two := s.p.ProduceSync(ctx, &kgo.Record{Topic: s.topic, Partition: 1, Value: []byte("x")}).FirstErr()
				if one != nil || two != nil || kclient.EndTransaction(ctx, s.p, kgo.TryCommit, slices.Values([]*kgo.Record{r})) != nil {
					return // fenced
				}
				committed++
			}
		}()
		<-atWork
		if err := kclient.EndHanging(ctx, s.cl, kclient.Hanging{ID: s.id, Topics: []string{s.topic}}, s.logger()); err != nil {
			t.Error(err)
		}
		p, err := s.cfg.New(kgo.TransactionalID(s.id))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.ProducerID(ctx); err != nil {
			t.Fatal(err)
		}
		p.Close()
		<-done
	}
	if s.log.Len() > 0 {
		t.Errorf("the log says %s", &s.log)
	}
	ends, err := s.adm.ListEndOffsets(ctx, s.topic)
	if err != nil {
		t.Fatal(err)
	}
	for partition := range int32(2) {
		e, _ := ends.Lookup(s.topic, partition)
		if e.Offset == 0 {
			t.Fatal("nothing was written")
		}
		// The last one of each round may have been committed without the answer.
		if got := len(readPartition(ctx, t, s.cfg, s.topic, partition, e.Offset)); got < committed || got > committed+20 {
			t.Errorf("partition %d has %d committed records of %d transactions", partition, got, committed)
		}
	}
}

// suspense is a transactional id and a topic of two partitions. What hangs does
// so in partition 1.
type suspense struct {
	t         *testing.T
	ctx       context.Context
	cfg       kclient.Config
	cl        *kgo.Client
	adm       *kadm.Client
	p         *kgo.Client // has the id
	topic, id string
	log       bytes.Buffer
}

func (s *suspense) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&s.log, nil)) }

func (s *suspense) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := s.cfg.New(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

func (s *suspense) open() {
	s.t.Helper()
	s.topic = fmt.Sprintf("hanging-%d", time.Now().UnixNano())
	s.id = s.topic + "-id"
	s.cl = s.client()
	s.adm = kadm.NewClient(s.cl)
	if _, err := s.adm.CreateTopic(s.ctx, 2, 1, nil, s.topic); err != nil {
		s.t.Fatal(err)
	}
}

// take takes the id, with an older client's requests if told so.
func (s *suspense) take(opts ...kgo.Opt) (pid int64, epoch int16) {
	s.t.Helper()
	s.p = s.client(append(opts, kgo.TransactionalID(s.id))...)
	pid, epoch, err := s.p.ProducerID(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return pid, epoch
}

// transact writes one transaction into partition 0.
func (s *suspense) transact(end kgo.TransactionEndTry) {
	s.t.Helper()
	if err := s.p.BeginTransaction(); err != nil {
		s.t.Fatal(err)
	}
	r := &kgo.Record{Topic: s.topic, Partition: 0, Value: []byte("elsewhere")}
	if err := s.p.ProduceSync(s.ctx, r).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	if err := kclient.EndTransaction(s.ctx, s.p, end, slices.Values([]*kgo.Record{r})); err != nil {
		s.t.Fatal(err)
	}
	ended(s.ctx, s.t, s.adm, s.id)
}

// offsets are partition 1's: up to where committed records are read, and its end.
func (s *suspense) offsets() (stable, end int64) {
	s.t.Helper()
	committed, err := s.adm.ListCommittedOffsets(s.ctx, s.topic)
	if err != nil {
		s.t.Fatal(err)
	}
	ends, err := s.adm.ListEndOffsets(s.ctx, s.topic)
	if err != nil {
		s.t.Fatal(err)
	}
	c, _ := committed.Lookup(s.topic, 1)
	e, _ := ends.Lookup(s.topic, 1)
	return c.Offset, e.Offset
}

// hang ends a transaction in partition 0, and adds a record of it to partition 1
// after its end. Kafka refuses that unless its check is switched off.
func (s *suspense) hang(end kgo.TransactionEndTry, old bool) {
	s.t.Helper()
	verify := func(value string) {
		alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "transaction.partition.verification.enable", Value: &value}}
		res, err := s.adm.AlterBrokerConfigs(s.ctx, alter)
		if err != nil || len(res) != 1 || res[0].Err != nil {
			s.t.Fatalf("verification %s: %v %v", value, err, res)
		}
	}
	verify("false")
	defer verify("true")
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
	var opts []kgo.Opt
	if old {
		opts = append(opts, kgo.MaxVersions(v))
	}
	pid, epoch := s.take(opts...)
	s.transact(end)
	topics, err := s.adm.ListTopics(s.ctx, s.topic)
	if err != nil {
		s.t.Fatal(err)
	}
	late := s.client(kgo.MaxVersions(v))
	req := kmsg.NewPtrProduceRequest()
	req.Version = 11
	req.TransactionID, req.Acks, req.TimeoutMillis = &s.id, -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = s.topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = 1, batch("hanging", pid, epoch, 0)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for {
		resp, err := req.RequestWith(s.ctx, late.Broker(int(topics[s.topic].Partitions[1].Leader)))
		if err != nil {
			s.t.Fatal(err)
		}
		switch err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); {
		case err == nil:
			return
		case errors.Is(err, kerr.InvalidTxnState), errors.Is(err, kerr.InvalidProducerEpoch), kerr.IsRetriable(err):
			// The switch has not reached the broker yet.
		default:
			s.t.Fatal(err)
		}
	}
}

// ended returns once the markers of the id's last transaction are written, which
// is after it was answered.
func ended(ctx context.Context, t *testing.T, adm *kadm.Client, id string) {
	t.Helper()
	for {
		described, err := adm.DescribeTransactions(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(described[id].State, "Complete") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the transaction stays %+v", described[id])
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// batch is a transactional record batch with one record.
func batch(value string, pid int64, epoch int16, sequence int32) []byte {
	r := kmsg.NewRecord()
	r.Value = []byte(value)
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic, b.Attributes = -1, 2, 1<<4
	b.FirstTimestamp = time.Now().UnixMilli()
	b.MaxTimestamp = b.FirstTimestamp
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = pid, epoch, sequence
	b.NumRecords, b.Records = 1, r.AppendTo(nil)
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

func read(ctx context.Context, t *testing.T, cfg kclient.Config, topic string, end int64) (values []string) {
	t.Helper()
	return readPartition(ctx, t, cfg, topic, 1, end)
}

func readPartition(ctx context.Context, t *testing.T, cfg kclient.Config, topic string, partition int32, end int64) (values []string) {
	t.Helper()
	cl, err := cfg.New(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		fs.EachRecord(func(r *kgo.Record) {
			at = r.Offset
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
		if at == end-1 {
			return values
		}
	}
}

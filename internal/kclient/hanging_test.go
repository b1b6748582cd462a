package kclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
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
// a stop and a start: complete for its coordinator, without marker in the
// partition. EndHanging ends it as the coordinator says, and readers go on.
func TestEndHanging(t *testing.T) {
	server := testenv.Kafka(t)
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%v", commit), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			topic := fmt.Sprintf("hanging-%v-%d", commit, time.Now().UnixNano())
			id := topic + "-id"
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, nil))
			cfg := kclient.Config{Brokers: []string{server}}
			cl, err := cfg.New()
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			adm := kadm.NewClient(cl)
			if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			if err := kclient.EndHanging(ctx, cl, id, []string{topic}, logger); err != nil {
				t.Fatalf("an id that was never used: %v", err)
			}
			hang(ctx, t, cfg, adm, topic, id, commit)

			if err := kclient.EndHanging(ctx, cl, id, []string{topic}, logger); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "left hanging is ended"); n != 1 {
				t.Fatalf("%d warnings, want 1: %s", n, &log)
			}
			stable, err := adm.ListCommittedOffsets(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			end, err := adm.ListEndOffsets(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := stable.Lookup(topic, 0)
			e, _ := end.Lookup(topic, 0)
			if s.Offset != e.Offset {
				t.Fatalf("readers of committed records stand at %d of %d", s.Offset, e.Offset)
			}
			want := "settled"
			if commit {
				want = "settled hanging"
			}
			if got := strings.Join(read(ctx, t, cfg, topic, e.Offset), " "); got != want {
				t.Errorf("committed records %q, want %q", got, want)
			}
			if err := kclient.EndHanging(ctx, cl, id, []string{topic}, logger); err != nil {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

// hang commits a record and ends another transaction, and adds a record to it
// after its end. Kafka refuses that unless its check is switched off.
func hang(ctx context.Context, t *testing.T, cfg kclient.Config, adm *kadm.Client, topic, id string, commit bool) {
	t.Helper()
	verify := func(value string) {
		alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "transaction.partition.verification.enable", Value: &value}}
		res, err := adm.AlterBrokerConfigs(ctx, alter)
		if err != nil || len(res) != 1 || res[0].Err != nil {
			t.Fatalf("verification %s: %v %v", value, err, res)
		}
	}
	verify("false")
	defer verify("true")
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
	cl, err := cfg.New(kgo.TransactionalID(id), kgo.MaxVersions(v), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	record := func(value string, end kgo.TransactionEndTry) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	record("settled", kgo.TryCommit)
	next := int32(1)
	if !commit {
		record("undone", kgo.TryAbort)
		next++
	}
	pid, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended(ctx, t, adm, id)
	topics, err := adm.ListTopics(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version = 11
	req.TransactionID, req.Acks, req.TimeoutMillis = &id, -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = batch("hanging", pid, epoch, next)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for {
		resp, err := req.RequestWith(ctx, cl.Broker(int(topics[topic].Partitions[0].Leader)))
		if err != nil {
			t.Fatal(err)
		}
		switch err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); {
		case err == nil:
			return
		case errors.Is(err, kerr.InvalidTxnState), kerr.IsRetriable(err):
			// The switch has not reached the broker yet.
		default:
			t.Fatal(err)
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
	cl, err := cfg.New(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
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

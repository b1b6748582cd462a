package kclient_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
)

// TestCommitOfATopicsFirstRecord: the first record to a topic is acknowledged
// while franz-go has not stored the topic's partitions yet, as a second one is
// being given to a partition.
func TestCommitOfATopicsFirstRecord(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kafka := kclient.Config{Brokers: c.ListenAddrs()}
	asked := make(chan struct{})
	cl, err := kafka.New(kgo.TransactionalID("id"), kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, _ int) int {
				if string(r.Value) == "slow" {
					<-asked
					return -1
				}
				return 0
			}
		})))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	first := &kgo.Record{Value: []byte("first")}
	acked := make(chan error, 1)
	cl.Produce(ctx, first, func(_ *kgo.Record, err error) { acked <- err })
	cl.Produce(ctx, &kgo.Record{Value: []byte("slow")}, func(*kgo.Record, error) {})
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	if err := kclient.EndTransaction(&askedContext{Context: ctx, asked: asked}, cl, kgo.TryCommit, slices.Values([]*kgo.Record{first})); err != nil {
		t.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	second := &kgo.Record{Value: []byte("second")}
	if err := cl.ProduceSync(ctx, second).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := kclient.EndTransaction(ctx, cl, kgo.TryCommit, slices.Values([]*kgo.Record{second})); err != nil {
		t.Fatal(err)
	}
	reader, err := kafka.New(kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var got []string
	for !slices.Contains(got, "second") {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
		if ctx.Err() != nil {
			t.Fatal("the second transaction is not there")
		}
	}
	if want := []string{"first", "second"}; !slices.Equal(got, want) {
		t.Errorf("committed are %q, want %q", got, want)
	}
}

// askedContext tells when it is first asked whether it is done: then whoever has
// it is about to wait.
type askedContext struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (c *askedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}

// TestEndTransactionGivesUp: a topic that is not there is not waited for longer than the
// caller waits.
func TestEndTransactionGivesUp(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl, err := kclient.Config{Brokers: c.ListenAddrs()}.New(kgo.TransactionalID("id"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := kclient.EndTransaction(ctx, cl, kgo.TryCommit, slices.Values([]*kgo.Record{{Topic: "nowhere"}})); err == nil {
		t.Error("no error")
	}
}

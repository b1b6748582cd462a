package clients

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Compression = sarama.CompressionZSTD
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return c
}

// saramaMember is a member of a group.
type saramaMember struct {
	heap       *heap
	partitions atomic.Int32
	stop       func()
}

func (m *saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	n := 0
	for _, p := range s.Claims() {
		n += len(p)
	}
	m.partitions.Store(int32(n))
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for msg := range c.Messages() {
		m.heap.add(string(msg.Value))
		s.MarkMessage(msg, "")
	}
	return nil
}

func joinSarama(t *testing.T, addr, group, topic string, h *heap) *saramaMember {
	g, err := sarama.NewConsumerGroup([]string{addr}, group, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(limited(t))
	m, done := &saramaMember{heap: h}, make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); err != nil && ctx.Err() == nil {
				t.Errorf("consume: %v", err)
				return
			}
		}
	}()
	m.stop = func() {
		cancel()
		<-done
		if err := g.Close(); err != nil {
			t.Errorf("leave: %v", err)
		}
	}
	return m
}

func sendSarama(t *testing.T, p sarama.SyncProducer, topic string, list []string) {
	t.Helper()
	var msgs []*sarama.ProducerMessage
	for _, v := range list {
		msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(v), Value: sarama.StringEncoder(v)})
	}
	if err := p.SendMessages(msgs); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

func TestSarama(t *testing.T) {
	addr, name := broker(t)
	admin, err := sarama.NewClusterAdmin([]string{addr}, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 4, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	p, err := sarama.NewSyncProducer([]string{addr}, saramaConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first, second := values("first-", 1000), values("second-", 500)
	sendSarama(t, p, name, first)
	var h heap
	a := joinSarama(t, addr, name, name, &h)
	until(t, "the first values", func() bool { return h.has(first) })
	b := joinSarama(t, addr, name, name, &h)
	until(t, "the group is shared", func() bool { return a.partitions.Load() == 2 && b.partitions.Load() == 2 })
	sendSarama(t, p, name, second)
	until(t, "the second values", func() bool { return h.has(second) })
	b.stop()
	until(t, "one member has it all", func() bool { return a.partitions.Load() == 4 })
	a.stop()
	offsets, err := admin.ListConsumerGroupOffsets(name, map[string][]int32{name: {0, 1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, o := range offsets.Blocks[name] {
		sum += o.Offset
	}
	if sum != 1500 {
		t.Errorf("committed offsets %d, want 1500", sum)
	}

	cfg := saramaConfig()
	cfg.Producer.Transaction.ID = name
	x, err := sarama.NewSyncProducer([]string{addr}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, end := range []struct {
		prefix string
		call   func() error
	}{{"aborted-", x.AbortTxn}, {"committed-", x.CommitTxn}} {
		if err := x.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		sendSarama(t, x, name, values(end.prefix, 100))
		if err := x.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{name: {{Partition: 0, Offset: 7}}}, name+"-other"); err != nil {
			t.Fatalf("offsets: %v", err)
		}
		if err := end.call(); err != nil {
			t.Fatalf("end of %s: %v", end.prefix, err)
		}
	}
	var read heap
	c := joinSarama(t, addr, name+"-reader", name, &read)
	until(t, "all values", func() bool { return read.has(values("committed-", 100)) && read.has(first) && read.has(second) })
	c.stop()
	for _, v := range read.all() {
		if strings.HasPrefix(v, "aborted-") {
			t.Fatalf("%s is seen", v)
		}
	}
}

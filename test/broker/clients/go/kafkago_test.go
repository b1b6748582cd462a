package clients

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// joinKafkaGo consumes as a member of the group until stop.
func joinKafkaGo(t *testing.T, addr, group, topic string, h *heap) (stop func()) {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{addr}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second,
		IsolationLevel: kafka.ReadCommitted,
	})
	ctx, cancel := context.WithCancel(limited(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := r.FetchMessage(ctx)
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, io.EOF) {
					t.Errorf("consume: %v", err)
				}
				return
			}
			h.add(string(m.Value))
			if err := r.CommitMessages(ctx, m); err != nil && ctx.Err() == nil {
				t.Errorf("commit: %v", err)
			}
		}
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
		if err := r.Close(); err != nil {
			t.Errorf("leave: %v", err)
		}
	})
}

func TestKafkaGo(t *testing.T) {
	addr, name := broker(t)
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: patience}
	made, err := client.CreateTopics(limited(t), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: 4, ReplicationFactor: 1}}})
	if err != nil || made.Errors[name] != nil {
		t.Fatal(err, made.Errors[name])
	}
	w := &kafka.Writer{Addr: kafka.TCP(addr), Topic: name, RequiredAcks: kafka.RequireAll, Balancer: &kafka.RoundRobin{}, BatchTimeout: 10 * time.Millisecond, Compression: kafka.Gzip}
	defer w.Close()
	send := func(list []string) {
		t.Helper()
		var msgs []kafka.Message
		for _, v := range list {
			msgs = append(msgs, kafka.Message{Key: []byte(v), Value: []byte(v)})
		}
		if err := w.WriteMessages(limited(t), msgs...); err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
	first, second, third := values("first-", 1000), values("second-", 500), values("third-", 100)
	send(first)
	var ha, hb heap
	leaveA := joinKafkaGo(t, addr, name, name, &ha)
	until(t, "the first values", func() bool { return ha.has(first) })
	leaveB := joinKafkaGo(t, addr, name, name, &hb)
	// What is sent now reaches both, once the group is shared.
	for n := 0; len(hb.all()) == 0; n++ {
		if n == 100 {
			t.Fatal("the second member gets nothing")
		}
		send(values("probe-", 8))
		select {
		case <-time.After(200 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	send(second)
	until(t, "the second values", func() bool {
		var both heap
		for _, v := range append(ha.all(), hb.all()...) {
			both.add(v)
		}
		return both.has(second)
	})
	leaveB()
	send(third)
	until(t, "one member has it all", func() bool { return ha.has(third) })
	leaveA()
	partitions := []int{0, 1, 2, 3}
	got, err := client.OffsetFetch(limited(t), &kafka.OffsetFetchRequest{GroupID: name, Topics: map[string][]int{name: partitions}})
	if err != nil || got.Error != nil {
		t.Fatal(err, got.Error)
	}
	sum := int64(0)
	for _, p := range got.Topics[name] {
		sum += p.CommittedOffset
	}
	if sum < 1600 {
		t.Errorf("committed offsets %d, want at least 1600", sum)
	}
}

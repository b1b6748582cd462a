package kclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestOutages(t *testing.T) {
	var o Outages
	one, two := kgo.BrokerMetadata{NodeID: 1}, kgo.BrokerMetadata{NodeID: 2}
	down := errors.New("connection refused")
	ctx, cancel := o.Until(t.Context(), 0)
	defer cancel()
	over, end := o.Until(t.Context(), 0)
	end()
	o.OnBrokerConnect(one, 0, nil, nil)
	o.OnBrokerConnect(one, 0, nil, context.Canceled)
	o.OnBrokerRead(one, 0, 0, 0, 0, context.DeadlineExceeded)
	if o.Count() != 0 || ctx.Err() != nil {
		t.Fatalf("%d outages, %v", o.Count(), ctx.Err())
	}
	o.OnBrokerRead(one, 0, 0, 0, 0, io.EOF)
	o.OnBrokerConnect(one, 0, nil, down) // of the same outage
	if o.Count() != 1 {
		t.Errorf("%d outages, want 1", o.Count())
	}
	if !errors.Is(context.Cause(ctx), ErrOutage) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	if errors.Is(context.Cause(over), ErrOutage) {
		t.Error("a context that was given up heard of the outage")
	}
	late, cancel := o.Until(t.Context(), 0)
	defer cancel()
	if !errors.Is(context.Cause(late), ErrOutage) {
		t.Errorf("too late: cause %v", context.Cause(late))
	}
	o.OnBrokerConnect(two, 0, nil, down)
	o.OnBrokerConnect(one, 0, nil, nil)
	o.OnBrokerConnect(one, 0, nil, down)
	if o.Count() != 3 {
		t.Errorf("%d outages, want 3", o.Count())
	}
	if len(o.until) != 0 {
		t.Errorf("%d contexts are kept", len(o.until))
	}
}

// TestGroupPartition: by Java's hash of the name, 99162322 for the first, and
// negative for the others.
func TestGroupPartition(t *testing.T) {
	for group, want := range map[string]int32{"hello": 22, "hello2": 34, "service-facturation": 46, "connect-archive": 19} {
		if got := groupPartition(group, 50); got != want {
			t.Errorf("%q: %d, want %d", group, got, want)
		}
	}
}

// TestEndHangingWithoutABroker: one of the addresses does not answer.
func TestEndHangingWithoutABroker(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = away.Close()
	for i := range 8 {
		cl, err := Config{Brokers: []string{away.Addr().String(), c.ListenAddrs()[0]}}.New()
		if err != nil {
			t.Fatal(err)
		}
		h := Hanging{ID: fmt.Sprint("id-", i), Topics: []string{"t"}}
		if err := EndHanging(t.Context(), cl, h, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		cl.Close()
	}
}

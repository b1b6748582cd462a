package kclient

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Outages counts how often a broker has become unreachable, once per outage.
// Transactions that ended about then may hang, so what begins a next one calls
// EndHanging first; and a transaction that has not reached Kafka when an outage
// begins must not reach it after, or it takes the outcome of the one before it
// from the coordinator's memory: see Until.
//
// It is a hook for kgo.WithHooks and may be shared by several clients. The zero
// value is ready.
type Outages struct {
	mu    sync.Mutex
	down  map[string]bool // by address: a node and the seed that leads to it are one
	n     int
	until map[*context.CancelCauseFunc]bool // called at the next outage
}

var (
	_ kgo.HookBrokerConnect = (*Outages)(nil)
	_ kgo.HookBrokerRead    = (*Outages)(nil)
)

// ErrOutage is the cause with which contexts of Until end.
var ErrOutage = errors.New("a broker could not be reached")

// OnBrokerConnect notes attempts that failed. One that succeeded says nothing: the
// system takes connections for a process that is stopped, and so does a proxy.
func (o *Outages) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		o.note(meta, true)
	}
}

// OnBrokerRead notes answers, with which an outage is over, and connections that
// end while one is awaited: behind a proxy a broker that is away can still be
// dialled.
func (o *Outages) OnBrokerRead(meta kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	switch {
	case err == nil:
		o.note(meta, false)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		o.note(meta, true)
	}
}

func (o *Outages) note(meta kgo.BrokerMetadata, down bool) {
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down == nil {
		o.down = map[string]bool{}
	}
	if down && !o.down[addr] {
		o.n++
		for end := range o.until {
			(*end)(ErrOutage)
		}
		clear(o.until)
	}
	if down {
		o.down[addr] = true
	} else {
		delete(o.down, addr)
	}
}

// Count returns the number of outages so far.
func (o *Outages) Count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

// Until returns a context that ends with the cause ErrOutage once Count is not n.
// The caller must call cancel.
func (o *Outages) Until(ctx context.Context, n int) (uctx context.Context, cancel context.CancelFunc) {
	uctx, end := context.WithCancelCause(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n != n {
		end(ErrOutage)
		return uctx, func() { end(nil) }
	}
	if o.until == nil {
		o.until = map[*context.CancelCauseFunc]bool{}
	}
	o.until[&end] = true
	return uctx, func() {
		end(nil)
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.until, &end)
	}
}

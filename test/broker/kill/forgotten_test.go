package kill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/child"
	"github.com/comptoir/comptoir/test/broker/wire"
)

const (
	forgottenIn    = "forgotten-in"
	forgottenOut   = "forgotten-out"
	forgottenGroup = "forgotten"
)

// TestForgottenMember has a member join again that has missed a generation: the
// broker was killed while it waited for the answer to its JoinGroup, and another
// one has taken over its partitions, and has gone on, before it comes back. It
// still claims them. If the new generations had lower numbers than the one it
// remembers, the leader would believe it, and it would go on where it stood,
// without asking for the group's offsets.
//
// There is one partition, since with more a cooperative member of franz-go does
// that on any broker: when the next generation begins before it has asked for its
// share, it claims what it had once as of the generation that it has just joined.
// An eager member claims nothing; the pipeline's are eager for that reason.
func TestForgottenMember(t *testing.T) {
	t.Run("cooperative", func(t *testing.T) { forgottenMember(t, kgo.CooperativeStickyBalancer(), 1, false) })
	t.Run("eager, slow", func(t *testing.T) { forgottenMember(t, kgo.RangeBalancer(), 2, true) })
}

func forgottenMember(t *testing.T, balancer kgo.GroupBalancer, partitions int32, slow bool) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := &run{t: t, proc: child.New(t, child.Config{Dir: t.TempDir()})}
	if err := r.proc.Start(); err != nil {
		t.Fatal(err)
	}
	r.addr, _ = r.proc.Started()
	for _, topic := range []string{forgottenIn, forgottenOut} {
		if err := r.create(ctx, topic, partitions); err != nil {
			t.Fatal(err)
		}
	}
	producer, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	id := uint64(0)
	through := func(n int) {
		t.Helper()
		for range n {
			id++
			rec := &kgo.Record{Topic: forgottenIn, Partition: int32(id % uint64(partitions)), Value: value(id, 0)}
			if err := producer.ProduceSync(ctx, rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		r.awaitOutput(ctx, partitions, id)
	}

	late := newGated(t, r, "late", balancer)
	through(10)
	// Its generation is higher than those that would come first after a restart.
	for range 3 {
		late.rejoin(ctx)
	}
	through(10)
	// Who was given a member id is awaited, so its JoinGroup is not answered
	// before the kill.
	if err := r.nameMember(ctx, balancer); err != nil {
		t.Fatal(err)
	}
	late.rejoin(ctx)
	late.shut()
	r.proc.Kill()
	if err := r.proc.Start(); err != nil {
		t.Fatal(err)
	}

	other := newGated(t, r, "other", balancer)
	through(20)
	if slow {
		late.keepSyncs()
	}
	late.open()
	if slow {
		late.awaitSync(ctx)
		r.awaitGroup(ctx, "PreparingRebalance", 2, other.session.Client().ForceRebalance)
		late.letSyncs()
	}
	r.awaitGroup(ctx, "Stable", 2, nil)
	through(20)
	for id, n := range r.outputs(ctx, partitions) {
		if n > 1 {
			t.Errorf("input %d is output %d times", id, n)
		}
	}
}

// gated is a member that takes each input to the output in a transaction, and
// can be cut off from the broker.
type gated struct {
	t       *testing.T
	session *kgo.GroupTransactSession
	joins   atomic.Int64 // JoinGroups that were sent
	waits   atomic.Bool  // a SyncGroup was to be sent since keepSyncs

	mu    sync.Mutex
	gate  chan struct{} // closed while it may connect
	syncs chan struct{} // closed while it may ask for its share
	conns []net.Conn
}

func newGated(t *testing.T, r *run, name string, balancer kgo.GroupBalancer) *gated {
	g := &gated{t: t, gate: make(chan struct{}), syncs: make(chan struct{})}
	close(g.gate)
	close(g.syncs)
	s, err := kgo.NewGroupTransactSession(r.options(
		kgo.TransactionalID(name), kgo.TransactionTimeout(20*time.Second), kgo.Balancers(balancer),
		kgo.ConsumerGroup(forgottenGroup), kgo.ConsumeTopics(forgottenIn), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.Dialer(g.dial), kgo.WithHooks(g))...)
	if err != nil {
		t.Fatal(err)
	}
	g.session = s
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			g.turn(ctx)
		}
	})
	t.Cleanup(func() {
		cancel()
		working.Wait()
		s.Close()
	})
	return g
}

// turn is one transaction.
func (g *gated) turn(ctx context.Context) {
	poll, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	fetched := g.session.PollRecords(poll, 100)
	if fetched.NumRecords() == 0 {
		return
	}
	if err := g.session.Begin(); err != nil {
		g.t.Error(err)
		return
	}
	fetched.EachRecord(func(r *kgo.Record) {
		g.session.Produce(context.Background(), &kgo.Record{Topic: forgottenOut, Value: r.Value}, nil)
	})
	end, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := g.session.End(end, kgo.TryCommit); err != nil {
		g.t.Error(err)
	}
}

// OnBrokerWrite counts JoinGroups.
func (g *gated) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.JoinGroup) && err == nil {
		g.joins.Add(1)
	}
}

// rejoin returns when it has sent another JoinGroup.
func (g *gated) rejoin(ctx context.Context) {
	g.t.Helper()
	before := g.joins.Load()
	if err := until(ctx, func() error {
		if g.joins.Load() > before {
			return nil
		}
		g.session.Client().ForceRebalance()
		return errors.New("no JoinGroup was sent")
	}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gated) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	select {
	case <-gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, c)
	return &gatedConn{c, g}, nil
}

// gatedConn is a connection of a member; a request is one Write.
type gatedConn struct {
	net.Conn
	member *gated
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.SyncGroup) {
		c.member.mu.Lock()
		syncs := c.member.syncs
		c.member.mu.Unlock()
		c.member.waits.Store(true)
		<-syncs
	}
	return c.Conn.Write(b)
}

// shut cuts it off: what it has is closed, and it cannot connect anew.
func (g *gated) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = make(chan struct{})
	for _, c := range g.conns {
		_ = c.Close()
	}
}

func (g *gated) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.gate)
}

// keepSyncs holds its SyncGroups back, until letSyncs.
func (g *gated) keepSyncs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.syncs = make(chan struct{})
	g.waits.Store(false)
	g.t.Cleanup(g.letSyncs)
}

// awaitSync returns when it has learnt of a generation, and wants its share.
func (g *gated) awaitSync(ctx context.Context) {
	g.t.Helper()
	if err := until(ctx, func() error {
		if !g.waits.Load() {
			return errors.New("no SyncGroup was to be sent")
		}
		return nil
	}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gated) letSyncs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.syncs:
	default:
		close(g.syncs)
	}
}

// nameMember has the group give out a member id that nobody joins with.
func (r *run) nameMember(ctx context.Context, balancer kgo.GroupBalancer) error {
	conn, err := wire.Dial(ctx, r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.ProtocolType = 5, forgottenGroup, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 30_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name = balancer.ProtocolName()
	req.Protocols = append(req.Protocols, p)
	answer, err := conn.Do(ctx, req)
	if err != nil {
		return err
	}
	if resp := answer.(*kmsg.JoinGroupResponse); resp.MemberID == "" {
		return refusal("join", resp.ErrorCode)
	}
	return nil
}

// awaitGroup returns when the group is in a state with so many members; until
// then it does what may bring it there.
func (r *run) awaitGroup(ctx context.Context, state string, members int, help func()) {
	r.t.Helper()
	conn, err := wire.Dial(ctx, r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := until(ctx, func() error {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups = 1, []string{forgottenGroup}
		answer, err := conn.Do(ctx, req)
		if err != nil {
			return err
		}
		if g := answer.(*kmsg.DescribeGroupsResponse).Groups[0]; g.State != state || len(g.Members) != members {
			if help != nil {
				help()
			}
			return fmt.Errorf("the group is %s with %d members, not %s with %d", g.State, len(g.Members), state, members)
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

// awaitOutput returns when the inputs up to one are output.
func (r *run) awaitOutput(ctx context.Context, partitions int32, last uint64) {
	r.t.Helper()
	if err := until(ctx, func() error {
		out := r.outputs(ctx, partitions)
		for id := uint64(1); id <= last; id++ {
			if out[id] == 0 {
				return fmt.Errorf("input %d has no output", id)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

// outputs counts how often each input is seen.
func (r *run) outputs(ctx context.Context, partitions int32) map[uint64]int {
	r.t.Helper()
	conn, err := wire.Dial(ctx, r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	out := map[uint64]int{}
	for p := range partitions {
		if _, err := read(ctx, conn, forgottenOut, p, 0, committed, func(rec *kgo.Record) {
			if !rec.Attrs.IsControl() {
				out[identity(rec.Value)]++
			}
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

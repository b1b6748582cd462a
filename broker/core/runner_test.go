package core

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// badDisk is a store that can be told to fail.
type badDisk struct {
	*store.Store
	write, sync, scan atomic.Pointer[error]
	// ill makes Health say what failed, once Sync has.
	ill atomic.Pointer[error]
}

func set(p *atomic.Pointer[error], err error) { p.Store(&err) }

func is(p *atomic.Pointer[error]) error {
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *badDisk) Write(c *store.Commit) (store.Mark, error) {
	if err := is(&d.write); err != nil {
		return 0, err
	}
	return d.Store.Write(c)
}

func (d *badDisk) Sync(m store.Mark) error {
	if err := is(&d.sync); err != nil {
		d.ill.Store(&err)
		return err
	}
	return d.Store.Sync(m)
}

func (d *badDisk) Health() error { return is(&d.ill) }

func (d *badDisk) Scan(prefix []byte, fn func(key, value []byte) error) error {
	if err := is(&d.scan); err != nil {
		return err
	}
	return d.Store.Scan(prefix, fn)
}

// turnedClock stands, but for what is added.
type turnedClock struct{ added atomic.Int64 }

func (c *turnedClock) Now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.added.Load()))
}

func (c *turnedClock) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.Now()
	}
	return ch
}

type runRig struct {
	t      *testing.T
	disk   *badDisk
	view   *View
	clock  turnedClock
	run    *Runner
	drops  atomic.Int32
	panics atomic.Int32
}

func newRunRig(t *testing.T) *runRig {
	t.Helper()
	disk, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "broker"})
	if err != nil {
		t.Fatal(err)
	}
	r := &runRig{t: t, disk: &badDisk{Store: disk}, view: NewView()}
	cfg := Config{Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, Panicked: func() { r.panics.Add(1) }, Logger: slog.New(slog.DiscardHandler)}
	if r.run, err = Start(cfg, r.disk, r.view, &r.clock, func() { r.drops.Add(1) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.run.Close()
		_ = disk.Close()
	})
	return r
}

// ask returns the answer to a request, or nil when it is dropped.
func (r *runRig) ask(body kmsg.Request) kmsg.Response {
	r.t.Helper()
	return r.submit(&Request{Body: body})
}

func (r *runRig) submit(req *Request) kmsg.Response {
	r.t.Helper()
	answer := make(chan kmsg.Response, 2)
	req.Answer = func(resp kmsg.Response) { answer <- resp }
	req.Dropped = func() { answer <- nil }
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	if err := r.run.Submit(ctx, req); err != nil {
		r.t.Fatal(err)
	}
	select {
	case resp := <-answer:
		return resp
	case <-ctx.Done():
		r.t.Fatalf("%T is neither answered nor dropped", req.Body)
		return nil
	}
}

func (r *runRig) create(name string) kmsg.Response {
	r.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{newTopic(name, 1)}
	return r.ask(req)
}

// topics returns the names that Metadata tells; nil when it tells nothing.
func (r *runRig) topics() map[string]bool {
	r.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	resp, _ := r.ask(req).(*kmsg.MetadataResponse)
	if resp == nil {
		return nil
	}
	names := map[string]bool{}
	for _, t := range resp.Topics {
		names[*t.Topic] = true
	}
	return names
}

// A write that fails is as if it had never been asked for, also when what stands
// on the disk cannot be read at once: nobody hears of what is not written.
func TestRunnerWriteFails(t *testing.T) {
	for _, unreadable := range []bool{false, true} {
		r := newRunRig(t)
		if r.create("before") == nil {
			t.Fatal("a topic is not created")
		}
		bad := errors.New("no space left")
		set(&r.disk.write, bad)
		if unreadable {
			set(&r.disk.scan, bad)
		}
		if resp := r.create("lost"); resp != nil {
			t.Fatalf("what cannot be written is answered: %+v", resp)
		}
		if unreadable {
			if names := r.topics(); names != nil {
				t.Fatalf("a machine ahead of the disk tells of %v", names)
			}
		}
		set(&r.disk.write, nil)
		set(&r.disk.scan, nil)
		if names := r.topics(); !names["before"] || names["lost"] {
			t.Fatalf("topics are %v", names)
		}
		if r.drops.Load() == 0 {
			t.Fatal("connections stay")
		}
		if r.create("after") == nil {
			t.Fatal("no topic is created after a write that failed")
		}
		if names := r.topics(); !names["before"] || !names["after"] || len(names) != 2 {
			t.Fatalf("topics are %v", names)
		}
	}
}

// After a sync that failed nothing more is acknowledged or shown, and reads go on.
func TestRunnerSyncFails(t *testing.T) {
	r := newRunRig(t)
	if r.create("before") == nil {
		t.Fatal("a topic is not created")
	}
	set(&r.disk.sync, errors.New("disk is broken"))
	if resp := r.create("lost"); resp != nil {
		t.Fatalf("what is not on the disk is answered: %+v", resp)
	}
	if names := r.topics(); !names["before"] {
		t.Fatalf("topics are %v: reads do not go on", names)
	}
	resp, _ := r.create("more").(*kmsg.CreateTopicsResponse)
	if resp == nil || resp.Topics[0].ErrorCode != kerr.KafkaStorageError.Code {
		t.Fatalf("a write is answered with %+v", resp)
	}
	if _, ok := r.view.Topic("lost"); ok {
		t.Fatal("readers see what is not on the disk")
	}
}

// What breaks when the turn is put together costs that turn, not the process.
func TestRunnerTurnBreaks(t *testing.T) {
	r := newRunRig(t)
	if r.create("before") == nil {
		t.Fatal("a topic is not created")
	}
	for name, work := range map[string]func(*Machine){
		"turn": func(m *Machine) {
			m.turn.settle = append(m.turn.settle, func(*Turn) { panic("a fault") })
		},
		"both": func(m *Machine) {
			m.turn.settle = append(m.turn.settle, func(*Turn) { panic("a fault") })
			panic("a fault")
		},
	} {
		if resp := r.submit(&Request{work: work}); resp != nil {
			t.Fatalf("%s: answered by %+v", name, resp)
		}
		if names := r.topics(); !names["before"] {
			t.Fatalf("%s: topics are %v", name, names)
		}
	}
}

// A request that makes the machine panic is dropped alone: those of its turn are
// answered, other connections stay, and only who waits for others asks again.
func TestRunnerRequestBreaks(t *testing.T) {
	r := newRunRig(t)
	if r.create("before") == nil {
		t.Fatal("a topic is not created")
	}
	type answer struct {
		name string
		resp kmsg.Response
	}
	answers := make(chan answer, 16)
	request := func(name string, body kmsg.Request, work func(*Machine)) *Request {
		return &Request{Body: body, work: work,
			Answer:  func(resp kmsg.Response) { answers <- answer{name, resp} },
			Dropped: func() { answers <- answer{name, nil} },
		}
	}
	submit := func(req *Request) {
		t.Helper()
		if err := r.run.Submit(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	topic := func(name string) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{newTopic(name, 1)}
		return req
	}
	join := func() kmsg.Request {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 2, "g", 10_000, 10_000, "consumer"
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		return req
	}
	if resp, ok := r.ask(join()).(*kmsg.JoinGroupResponse); !ok || resp.ErrorCode != 0 {
		t.Fatalf("the first member is answered by %+v", resp)
	}
	submit(request("join", join(), nil)) // waits for the first to join again

	// All of one turn: the first holds it up until the others wait.
	held, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	submit(request("hold", nil, func(*Machine) { once.Do(func() { close(held); <-goOn }) }))
	<-held
	submit(request("one", topic("one"), nil))
	submit(request("bad", nil, func(*Machine) { panic("a fault") }))
	submit(request("two", topic("two"), nil))
	close(goOn)

	got := map[string]kmsg.Response{}
	for len(got) < 4 {
		select {
		case a := <-answers:
			if _, twice := got[a.name]; twice {
				t.Fatalf("%s has two answers", a.name)
			}
			got[a.name] = a.resp
		case <-time.After(30 * time.Second):
			t.Fatalf("only %v are answered", got)
		}
	}
	for _, name := range []string{"one", "two"} {
		if resp, ok := got[name].(*kmsg.CreateTopicsResponse); !ok || resp.Topics[0].ErrorCode != 0 {
			t.Errorf("%s is answered by %+v", name, got[name])
		}
	}
	for _, name := range []string{"bad", "join"} {
		if resp, ok := got[name]; !ok || resp != nil {
			t.Errorf("%s is answered by %+v, it should be dropped", name, resp)
		}
	}
	if names := r.topics(); !names["before"] || !names["one"] || !names["two"] {
		t.Errorf("topics are %v", names)
	}
	if r.drops.Load() != 0 || r.panics.Load() != 1 {
		t.Errorf("connections were dropped %d times, %d panics were counted", r.drops.Load(), r.panics.Load())
	}
}

// A heartbeat that waited while the broker could not get on, for longer than the
// session, keeps the session alive.
func TestRunnerHeartbeatsBeforeTime(t *testing.T) {
	for range 20 { // the runner may be woken by the clock or by the request
		r := newRunRig(t)
		join := kmsg.NewPtrJoinGroupRequest()
		join.Version, join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = 2, "g", 10_000, 10_000, "consumer"
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		joined, ok := r.ask(join).(*kmsg.JoinGroupResponse)
		if !ok || joined.ErrorCode != 0 {
			t.Fatalf("the member is answered by %+v", joined)
		}
		assign := kmsg.NewPtrSyncGroupRequest()
		assign.Version, assign.Group, assign.Generation, assign.MemberID = 2, "g", joined.Generation, joined.MemberID
		if resp, ok := r.ask(assign).(*kmsg.SyncGroupResponse); !ok || resp.ErrorCode != 0 {
			t.Fatalf("the member is answered by %+v", resp)
		}
		held, goOn := make(chan struct{}), make(chan struct{})
		hold := &Request{work: func(*Machine) { close(held); <-goOn }, Dropped: func() {}}
		if err := r.run.Submit(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		<-held
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Version, beat.Group, beat.Generation, beat.MemberID = 2, "g", joined.Generation, joined.MemberID
		answer := make(chan kmsg.Response, 1)
		req := &Request{Body: beat, Answer: func(resp kmsg.Response) { answer <- resp }, Dropped: func() { answer <- nil }}
		if err := r.run.Submit(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		r.clock.added.Add(int64(11 * time.Second))
		close(goOn)
		if resp, ok := (<-answer).(*kmsg.HeartbeatResponse); !ok || resp.ErrorCode != 0 {
			t.Fatalf("the heartbeat is answered by %+v", resp)
		}
	}
}

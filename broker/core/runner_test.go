package core

import (
	"context"
	"errors"
	"log/slog"
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

// stillClock stands.
type stillClock struct{}

func (stillClock) Now() time.Time { return time.Unix(1_700_000_000, 0) }

func (c stillClock) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.Now()
	}
	return ch
}

type runRig struct {
	t     *testing.T
	disk  *badDisk
	view  *View
	run   *Runner
	drops atomic.Int32
}

func newRunRig(t *testing.T) *runRig {
	t.Helper()
	disk, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "broker"})
	if err != nil {
		t.Fatal(err)
	}
	r := &runRig{t: t, disk: &badDisk{Store: disk}, view: NewView()}
	cfg := Config{Host: "localhost", Port: 9092, DefaultPartitions: 1, MinSession: time.Second, Logger: slog.New(slog.DiscardHandler)}
	if r.run, err = Start(cfg, r.disk, r.view, stillClock{}, func() { r.drops.Add(1) }); err != nil {
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
		"request": func(*Machine) { panic("a fault") },
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

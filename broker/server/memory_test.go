package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
)

// testServer has a core that does what submit says.
func testServer(t *testing.T, limits Limits, submit func(*core.Request) error) *Server {
	t.Helper()
	s := New(Config{
		Submit: func(_ context.Context, r *core.Request) error { return submit(r) },
		View:   core.NewView(), Limits: limits, Metrics: NewMetrics(nil), Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(s.Close)
	return s
}

func (s *Server) testDial(t *testing.T) net.Conn {
	t.Helper()
	client, end := Pipe(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092})
	if err := s.ServeConn(end); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen in time: %s", what)
		}
	}
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// Whatever becomes of a request, its memory is given back, and once.
func TestMemoryGivenBack(t *testing.T) {
	quiet := testProduce(9)
	quiet.Acks = 0
	for _, c := range []struct {
		name   string
		req    kmsg.Request
		submit func(*core.Request) error
	}{
		{"answered", testProduce(9), func(r *core.Request) error { r.Answer(r.Body.ResponseKind()); return nil }},
		{"wants no answer", quiet, func(r *core.Request) error { r.Answer(nil); return nil }},
		{"dropped", testProduce(9), func(r *core.Request) error { r.Dropped(); return nil }},
		{"not taken", kmsg.NewPtrMetadataRequest(), func(*core.Request) error { return errors.New("closed") }},
		{"produce not taken", testProduce(9), func(*core.Request) error { return errors.New("closed") }},
		{"breaks", kmsg.NewPtrMetadataRequest(), func(*core.Request) error { panic("a fault") }},
		{"answer breaks", kmsg.NewPtrMetadataRequest(), func(r *core.Request) error { r.Answer((*kmsg.MetadataResponse)(nil)); return nil }},
		{"parked", kmsg.NewPtrJoinGroupRequest(), func(*core.Request) error { return nil }},
	} {
		s := testServer(t, Limits{}, c.submit)
		began := s.memory.free()
		client := s.testDial(t)
		write(t, client, request(c.req, 9))
		if c.name == "answered" {
			if _, err := io.ReadFull(client, make([]byte, 8)); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if c.name == "parked" || c.name == "wants no answer" {
			// Until the next request is there, this one is passed on.
			write(t, client, request(kmsg.NewPtrApiVersionsRequest(), 0))
		}
		_ = client.Close()
		s.Close()
		if now := s.memory.free(); now != began {
			t.Errorf("%s: %d bytes are free, there were %d", c.name, now, began)
		}
	}
}

// A request keeps its memory until the core is done with it, also if nobody waits
// for an answer or for one before it.
func TestMemoryOfTheCore(t *testing.T) {
	quiet := testProduce(9)
	quiet.Acks = 0
	submitted := make(chan *core.Request, 2)
	s := testServer(t, Limits{}, func(r *core.Request) error { submitted <- r; return nil })
	began := s.memory.free()
	client := s.testDial(t)
	write(t, client, request(quiet, 9))
	first := <-submitted
	write(t, client, request(kmsg.NewPtrJoinGroupRequest(), 9)) // answered late
	<-submitted
	held := began - s.memory.free()
	frame := int64(len(request(quiet, 9)) - 4)
	if held < frame {
		t.Fatalf("%d bytes are held while the core has more than %d", held, frame)
	}
	first.Answer(nil)
	if now := began - s.memory.free(); now != held-frame {
		t.Fatalf("%d bytes are held, want %d", now, held-frame)
	}
	held = began - s.memory.free()
	write(t, client, request(testProduce(9), 9))
	last := <-submitted
	last.Answer(last.Body.ResponseKind())
	if now := began - s.memory.free(); now != held {
		t.Fatalf("an answer in line holds its request: %d bytes, want %d", now, held)
	}
	write(t, client, request(testProduce(9), 9))
	last = <-submitted
	_ = client.Close()
	s.wg.Wait()
	if now := began - s.memory.free(); now < frame {
		t.Fatalf("%d bytes are held while the core has more than %d", now, frame)
	}
	last.Answer(last.Body.ResponseKind())
	if now := s.memory.free(); now != began {
		t.Fatalf("%d bytes are free, there were %d", now, began)
	}
}

// Requests that have come in part and wait for each other's memory do not wait
// for ever, nor does anybody behind them.
func TestMemoryTaken(t *testing.T) {
	limits := Limits{Frame: 1 << 20, Memory: 2 << 20, Stall: 500 * time.Millisecond}
	s := testServer(t, limits, func(r *core.Request) error { r.Answer(r.Body.ResponseKind()); return nil })
	quarter := make([]byte, 1<<18)
	clients := make([]net.Conn, 4)
	for i := range clients {
		clients[i] = s.testDial(t)
		write(t, clients[i], binary.BigEndian.AppendUint32(nil, 1<<20))
		write(t, clients[i], quarter)
	}
	eventually(t, "four halves are all", func() bool { return s.memory.free() == 0 })
	for _, c := range clients {
		write(t, c, quarter)
	}
	eventually(t, "all of them want more", func() bool {
		s.memory.mu.Lock()
		defer s.memory.mu.Unlock()
		return len(s.memory.waiting) == len(clients)
	})
	client := s.testDial(t)
	if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	write(t, client, request(kmsg.NewPtrMetadataRequest(), 9))
	if _, err := io.ReadFull(client, make([]byte, 8)); err != nil {
		t.Fatalf("an honest client gets no answer: %v", err)
	}
}

// Batches are decompressed by a few connections at a time, however many there are.
func TestLooksAreFew(t *testing.T) {
	submitted := make(chan *core.Request, 1)
	s := testServer(t, Limits{}, func(r *core.Request) error { submitted <- r; return nil })
	for range cap(s.looking) {
		s.looking <- struct{}{}
	}
	client := s.testDial(t)
	write(t, client, request(testProduce(9), 9))
	eventually(t, "the request is read", func() bool { return s.memory.free() < s.cfg.Limits.Memory })
	other := s.testDial(t)
	for range 100 { // which gives the first one time
		write(t, other, request(kmsg.NewPtrApiVersionsRequest(), 0))
		head := make([]byte, 4)
		if _, err := io.ReadFull(other, head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, other, int64(binary.BigEndian.Uint32(head))); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-submitted:
		t.Fatal("one more looks into records than may")
	default:
	}
	for range cap(s.looking) {
		<-s.looking
	}
	(<-submitted).Answer(nil)
}

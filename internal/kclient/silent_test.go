package kclient

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Silent
		dialled := 0
		dial := s.through(func(context.Context, string, string) (net.Conn, error) { dialled++; return new(net.TCPConn), nil })
		a := kgo.BrokerMetadata{NodeID: 1, Host: "a", Port: 1}
		late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		try := func(addr string, want int) {
			t.Helper()
			_, err := dial(t.Context(), "tcp", addr)
			if dialled != want {
				t.Errorf("%s: dialled %d times, want %d", addr, dialled, want)
			}
			var op *net.OpError
			if err != nil && (!errors.As(err, &op) || op.Op != "dial" || op.Timeout() || !errors.Is(err, syscall.ECONNREFUSED)) {
				t.Errorf("%v is not taken for a broker that is away", err)
			}
			dialled = want
		}
		try("a:1", 1)
		s.OnBrokerRead(a, 0, 0, 0, 0, context.DeadlineExceeded) // the caller's patience
		try("a:1", 2)
		s.OnBrokerRead(a, 0, 0, 0, 0, late)
		try("a:1", 2)
		try("b:1", 3)
		time.Sleep(silentFor)
		try("a:1", 4) // one finds out
		try("a:1", 4)
		s.OnBrokerRead(a, 0, 0, 0, 0, nil)
		try("a:1", 5)
		try("a:1", 6)
		time.Sleep(answerTimeout - time.Millisecond)
		s.OnBrokerRead(a, 0, 0, 0, 0, late) // it has said something since that was asked
		try("a:1", 7)
		time.Sleep(time.Millisecond)
		s.OnBrokerRead(a, 0, 0, 0, 0, late)
		try("a:1", 7)
	})
}

// TestSilentClosed: what is open to a broker that hangs is closed, so that nobody
// waits for it any longer; one slow answer among others closes nothing.
func TestSilentClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Silent
		dial := s.through(func(context.Context, string, string) (net.Conn, error) {
			c, _ := net.Pipe()
			return c, nil
		})
		a, b := kgo.BrokerMetadata{Host: "a", Port: 1}, kgo.BrokerMetadata{Host: "b", Port: 1}
		open := func(addr string) (ended chan error) {
			t.Helper()
			c, err := dial(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			ended = make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				ended <- err
			}()
			return ended
		}
		first, second, other := open("a:1"), open("a:1"), open("b:1")
		still := func(name string, ended chan error, want bool) {
			t.Helper()
			synctest.Wait()
			if got := len(ended) == 0; got != want {
				t.Errorf("%s is open: %v, want %v", name, got, want)
			}
		}
		s.OnBrokerRead(a, 0, 0, 0, 0, nil)
		s.OnBrokerRead(b, 0, 0, 0, 0, nil)
		time.Sleep(answerTimeout - time.Millisecond)
		s.OnBrokerRead(a, 0, 0, 0, 0, os.ErrDeadlineExceeded)
		still("first", first, true)
		time.Sleep(time.Millisecond)
		s.OnBrokerRead(a, 0, 0, 0, 0, os.ErrDeadlineExceeded)
		still("first", first, false)
		still("second", second, false)
		still("that to another broker", other, true)
		time.Sleep(silentFor)
		later := open("a:1") // closed ones are forgotten
		s.OnBrokerRead(a, 0, 0, 0, 0, nil)
		still("later", later, true)
	})
}

// TestSilentBroker: of two addresses one takes connections and says nothing. Once
// somebody has waited for it, a new client does not.
func TestSilentBroker(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts: the system does
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	dialled := 0
	cfg := Config{Brokers: []string{mute.Addr().String(), c.ListenAddrs()[0]}, Silent: &Silent{}}
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == mute.Addr().String() {
			dialled++
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	host, port := split(t, mute.Addr().String())
	cfg.Silent.OnBrokerRead(kgo.BrokerMetadata{Host: host, Port: port}, 0, 0, 0, 0, os.ErrDeadlineExceeded)
	for range 8 { // each begins with an address by chance
		cl, err := cfg.New()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kadm.NewClient(cl).BrokerMetadata(t.Context()); err != nil {
			t.Error(err)
		}
		cl.Close()
	}
	if dialled != 0 {
		t.Errorf("the silent one was dialled %d times", dialled)
	}
}

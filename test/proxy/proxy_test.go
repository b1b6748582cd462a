package proxy

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// limit is when a read gives up: what must come comes long before.
const limit = 30 * time.Second

// open starts an echo server, a proxy to it, and a connection through it.
func open(t *testing.T) (*Proxy, *net.TCPConn) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_, _ = io.WriteString(c, "bye")
				_ = c.Close()
			}()
		}
	}()
	p, err := Listen("127.0.0.1:0", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		_ = server.Close()
	})
	return p, dial(t, p)
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// echo sends a text and reads it back.
func echo(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("came back as " + string(got))
	}
	return nil
}

func TestPasses(t *testing.T) {
	p, c := open(t)
	if err := echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	if n := p.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
		t.Errorf("after the end of one direction the other brings %q, %v", rest, err)
	}
}

func TestCut(t *testing.T) {
	p, c := open(t)
	if err := echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := echo(c, "two"); err == nil {
		t.Error("a cut connection passes")
	}
	// The end may be seen as early as in the dial.
	if c, err := net.DialTimeout("tcp", p.Addr, limit); err == nil {
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		if err := echo(c, "three"); err == nil {
			t.Error("a new connection passes")
		}
	}
	p.Heal()
	if err := echo(dial(t, p), "four"); err != nil {
		t.Error(err)
	}
}

func TestHold(t *testing.T) {
	p, c := open(t)
	if err := echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	p.Hold()
	if _, err := io.WriteString(c, "two"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if n, err := c.Read(got); err == nil {
		t.Errorf("%q passes", got[:n])
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	p.Heal()
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "two" {
		t.Errorf("afterwards %q, %v", got, err)
	}
}

func TestDelay(t *testing.T) {
	p, c := open(t)
	const each = 50 * time.Millisecond
	p.Delay(each)
	begun := time.Now()
	if err := echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 2*each {
		t.Errorf("there and back took %v", took)
	}
}

func TestHalfClose(t *testing.T) {
	p, c := open(t)
	if err := echo(c, "one"); err != nil {
		t.Fatal(err)
	}
	p.HalfClose(true)
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
		t.Errorf("the server was not told: %q, %v", rest, err)
	}
	c = dial(t, p)
	if err := echo(c, "two"); err != nil {
		t.Fatal(err)
	}
	p.HalfClose(false)
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("the client was not told: %q, %v", rest, err)
	}
}

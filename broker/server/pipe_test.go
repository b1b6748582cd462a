package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func testPipe(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	a, b := Pipe(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092})
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestPipeCarriesMoreThanItHolds(t *testing.T) {
	a, b := testPipe(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 3*pipeBuffer/16)
	go func() {
		_, _ = a.Write(sent)
		a.Close()
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
	}
}

func TestPipeClose(t *testing.T) {
	a, b := testPipe(t)
	if _, err := a.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	a.Close()
	got, err := io.ReadAll(b)
	if string(got) != "last" || err != nil {
		t.Errorf("read %q, %v after the other end closed", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to a closed pipe: %v", err)
	}
}

func TestPipeDeadlines(t *testing.T) {
	a, b := testPipe(t)
	for name, wait := range map[string]func() error{
		"read": func() error {
			_ = a.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"write": func() error {
			_ = b.SetWriteDeadline(time.Now().Add(time.Millisecond))
			_, err := b.Write(make([]byte, 2*pipeBuffer))
			return err
		},
		"past": func() error {
			_ = a.SetReadDeadline(time.Unix(1, 0))
			_, err := a.Read(make([]byte, 1))
			for err == nil { // what b has written
				_, err = a.Read(make([]byte, pipeBuffer))
			}
			return err
		},
	} {
		if err := wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_ = a.SetReadDeadline(time.Time{})
	_ = b.SetWriteDeadline(time.Time{})
	go func() { _, _ = b.Write([]byte("x")) }()
	if _, err := a.Read(make([]byte, 1)); err != nil {
		t.Errorf("a deadline taken away still ends a read: %v", err)
	}
}

// Small writes and large ones, which are taken from where they are, come in order,
// however they are read.
func TestPipeKeepsOrder(t *testing.T) {
	a, b := testPipe(t)
	var sent []byte
	sizes := []int{1, pipeLend, 3, pipeLend - 1, pipeLend - 1, pipeLend - 1, 5 * pipeBuffer, 2, 7}
	for i, n := range sizes {
		sent = append(sent, bytes.Repeat([]byte{byte(i)}, n)...)
	}
	go func() {
		rest := sent
		for _, n := range sizes {
			_, _ = a.Write(rest[:n])
			rest = rest[n:]
		}
		a.Close()
	}()
	var got []byte
	for n := 1; ; n = n%50_000*3 + 1 {
		p := make([]byte, n)
		m, err := b.Read(p)
		got = append(got, p[:m]...)
		if err != nil {
			break
		}
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d, or others", len(got), len(sent))
	}
}

// A writer learns how much of a large write was taken.
func TestPipeLargeWriteEnds(t *testing.T) {
	for name, end := range map[string]func(a, b net.Conn){
		"deadline": func(a, _ net.Conn) { _ = a.SetWriteDeadline(time.Unix(1, 0)) },
		"close":    func(_, b net.Conn) { b.Close() },
	} {
		a, b := testPipe(t)
		type result struct {
			n   int
			err error
		}
		written := make(chan result)
		go func() {
			n, err := a.Write(bytes.Repeat([]byte{1}, pipeLend))
			written <- result{n, err}
		}()
		if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		end(a, b)
		if got := <-written; got.n != 10 || !errors.Is(got.err, os.ErrDeadlineExceeded) && !errors.Is(got.err, io.ErrClosedPipe) {
			t.Errorf("%s: %d bytes of 10 taken, %v", name, got.n, got.err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		if name == "deadline" {
			go func() { _, _ = a.Write([]byte{2}) }()
			p := make([]byte, 1)
			if _, err := b.Read(p); err != nil || p[0] != 2 {
				t.Errorf("read %d, %v behind what was given up", p[0], err)
			}
		}
	}
}

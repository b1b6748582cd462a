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

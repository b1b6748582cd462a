package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bodyServer serves POST /items, which takes a body, /deaf, which takes none and
// answers, and GET /wait, which answers when its client goes or wait is closed.
func bodyServer(t *testing.T, limit time.Duration) (s *Server, begun chan struct{}, wait chan struct{}) {
	t.Helper()
	begun, wait = make(chan struct{}, 10), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /items", func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		b, err := Body(r)
		if err != nil {
			WriteProblem(w, err)
			return
		}
		WriteJSON(w, http.StatusOK, len(b))
	})
	mux.HandleFunc("POST /deaf", func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		WriteJSON(w, http.StatusOK, "deaf")
	})
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		select {
		case <-r.Context().Done():
			WriteJSON(w, http.StatusOK, "gone")
		case <-wait:
			WriteJSON(w, http.StatusOK, "waited")
		}
	})
	s = NewServer(ServerConfig{Listener: listenTest(t), Logger: discard(), Handler: Chain(ChainConfig{Logger: discard()}, Routes(mux))})
	s.bodyTime = limit
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s, begun, wait
}

// dial opens a connection and sends text on it.
func dial(t *testing.T, s *Server, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func head(method, path string, length int) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", method, path, length)
}

// answer reads one answer.
func answer(t *testing.T, r *bufio.Reader) (status int, body string, closes bool) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Close
}

// A client that stops sending is told so, and its connection ends.
func TestBodyThatDoesNotCome(t *testing.T) {
	s, _, _ := bodyServer(t, 50*time.Millisecond)
	for _, tc := range []struct {
		name, text string
		status     int
		body       string
	}{
		{"half a body", head("POST", "/items", 10) + "[1,", 408, CodeTimeout},
		{"half a chunk", "POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n[1,", 408, CodeTimeout},
		{"body of GET", head("GET", "/wait", 10) + "[", 408, CodeTimeout},
		{"body that nobody reads", head("POST", "/deaf", 10) + "[1,", 200, "deaf"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bufio.NewReader(dial(t, s, tc.text))
			status, body, closes := answer(t, r)
			if status != tc.status || !strings.Contains(body, tc.body) || !closes {
				t.Errorf("%d %s, closes %v", status, body, closes)
			}
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

// The limit is for bodies alone: an answer may last, the next request of the
// connection has a limit of its own, and a large body has more time.
func TestBodyLimitEndsWithTheBody(t *testing.T) {
	s, begun, wait := bodyServer(t, 50*time.Millisecond)
	for _, text := range []string{"", head("GET", "/wait", 2) + "[]"} {
		c := dial(t, s, head("POST", "/items", 2)+"[]")
		r := bufio.NewReader(c)
		if status, body, _ := answer(t, r); status != 200 || body != "2\n" {
			t.Fatalf("%d %s", status, body)
		}
		<-begun
		if text == "" {
			text = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		<-begun
		// A body that begins now is given up: so the limit has passed.
		if status, _, _ := answer(t, bufio.NewReader(dial(t, s, head("POST", "/items", 10)))); status != 408 {
			t.Errorf("half a body: %d", status)
		}
		<-begun
		wait <- struct{}{}
		if status, body, _ := answer(t, r); status != 200 || body != "\"waited\"\n" {
			t.Errorf("%d %s", status, body)
		}
	}
	deadlines := &deadlines{}
	b := &timedBody{
		ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", DefaultBodyLimit))),
		rc:         http.NewResponseController(deadlines), begun: time.Unix(1000, 0), limit: bodyTime,
	}
	for {
		if _, err := b.Read(make([]byte, 32<<10)); err != nil {
			break
		}
	}
	if n := len(deadlines.set); n != 33 || !deadlines.set[0].Equal(time.Unix(1011, 0)) || !deadlines.set[31].Equal(time.Unix(1042, 0)) || !deadlines.set[32].IsZero() {
		t.Errorf("deadlines %v", deadlines.set)
	}
	if d := deadlines.set[31].Sub(b.begun); d+10*time.Second > writeTimeout {
		t.Errorf("the largest body may take %v: there is no time left to answer", d)
	}
}

// deadlines is a ResponseWriter that notes them.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// What clients hold open without a request is no reason for a stop to fail, nor
// to last.
func TestServerStopDoesNotWaitForSilentClients(t *testing.T) {
	s, begun, _ := bodyServer(t, time.Minute)
	fresh := []net.Conn{dial(t, s, ""), dial(t, s, ""), dial(t, s, "GET /it"), dial(t, s, "GET /items HTTP/1.1\r\nHost: loc")}
	half := dial(t, s, head("POST", "/items", 10)+"[1,")
	<-begun
	deaf := dial(t, s, head("POST", "/deaf", 10)+"[1,")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // net/http alone waits 5 s
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if status, body, closes := answer(t, bufio.NewReader(half)); status != 503 || !strings.Contains(body, CodeUnavailable) || !closes {
		t.Errorf("half a body: %d %s, closes %v", status, body, closes)
	}
	if status, body, closes := answer(t, bufio.NewReader(deaf)); status != 200 || !strings.Contains(body, "deaf") || !closes {
		t.Errorf("a body that nobody reads: %d %s, closes %v", status, body, closes)
	}
	for i, c := range fresh {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connection %d is still open: %d, %v", i, n, err)
		}
	}
}

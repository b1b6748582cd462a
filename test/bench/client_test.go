package bench

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The load comes from a process of its own, so that its share of the CPU is
// known and its garbage is not the node's: this test's program again, with the
// load's description on its standard input. It has one thread and writes
// requests prepared beforehand.

// clientEnv makes the program a client.
const clientEnv = "COMPTOIR_BENCH_CLIENT"

// httpLoad is a load of HTTP requests.
type httpLoad struct {
	Addr     string
	Conns    int
	Rate     int // requests per second, open loop; 0: each connection sends as soon as it has its answer
	Status   int // that every answer must have
	Requests [][]byte
}

// httpResult is what came of an httpLoad.
type httpResult struct {
	Sent []int64         // when each request was written, in nanoseconds since 1970
	Took []time.Duration // from there to the end of its answer
	All  time.Duration
	CPU  time.Duration // of the client
}

func TestMain(m *testing.M) {
	if os.Getenv(clientEnv) == "" {
		os.Exit(m.Run())
	}
	if err := clientMain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func clientMain() error {
	runtime.GOMAXPROCS(1)
	var l httpLoad
	if err := gob.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&l); err != nil {
		return err
	}
	r, err := l.send()
	if err != nil {
		return err
	}
	return gob.NewEncoder(os.Stdout).Encode(r)
}

// run has a process of its own send the load.
func (l *httpLoad) run(b *testing.B) *httpResult {
	b.Helper()
	var in, out bytes.Buffer
	if err := gob.NewEncoder(&in).Encode(l); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), clientEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		b.Fatalf("client: %v", err)
	}
	var r httpResult
	if err := gob.NewDecoder(&out).Decode(&r); err != nil {
		b.Fatal(err)
	}
	return &r
}

// send sends the requests in their order, over all connections.
func (l *httpLoad) send() (*httpResult, error) {
	r := &httpResult{Sent: make([]int64, len(l.Requests)), Took: make([]time.Duration, len(l.Requests))}
	conns := make([]net.Conn, l.Conns)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", l.Addr); err != nil {
			return nil, err
		}
		defer conns[i].Close()
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, l.Conns)
	begin, before := time.Now(), cpu()
	for c, conn := range conns {
		wg.Go(func() {
			in := bufio.NewReader(conn)
			for i := int(next.Add(1)) - 1; i < len(l.Requests); i = int(next.Add(1)) - 1 {
				if l.Rate > 0 {
					time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(l.Rate))))
				}
				sent := time.Now()
				if _, errs[c] = conn.Write(l.Requests[i]); errs[c] != nil {
					return
				}
				if errs[c] = readAnswer(in, l.Status); errs[c] != nil {
					return
				}
				r.Sent[i], r.Took[i] = sent.UnixNano(), time.Since(sent)
			}
		})
	}
	wg.Wait()
	r.All, r.CPU = time.Since(begin), cpu()-before
	return r, errors.Join(errs...)
}

// readAnswer reads one answer with a length, and drops its body.
func readAnswer(in *bufio.Reader, status int) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || string(line[9:12]) != strconv.Itoa(status) {
		rest := make([]byte, in.Buffered())
		_, _ = io.ReadFull(in, rest) // only to be shown
		return fmt.Errorf("answer %q: %s", line, rest)
	}
	length := -1
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without length")
	}
	_, err = in.Discard(length)
	return err
}

// posts are requests that place the orders of a run, each with an idempotency
// key if keyed.
func posts(run string, n int, keyed bool) (requests [][]byte) {
	for i := range n {
		client, value := order(run, i)
		value = slices.Concat(value[:len(value)-1], fmt.Appendf(nil, `,"clientId":%q}`, client))
		var key string
		if keyed {
			key = fmt.Sprintf("Idempotency-Key: %s-%d\r\n", run, i)
		}
		requests = append(requests, fmt.Appendf(nil, "POST /commandes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
			key, len(value), value))
	}
	return requests
}

// sorted returns durations in rising order.
func sorted(d []time.Duration) []time.Duration { return slices.Sorted(slices.Values(d)) }

// quantiles shows the median and the slowest hundredth of sorted durations.
func quantiles(d []time.Duration) string {
	return fmt.Sprintf("p50 %v  p99 %v", d[len(d)/2].Round(10*time.Microsecond), d[len(d)*99/100].Round(10*time.Microsecond))
}

// host is an address without its scheme.
func host(url string) string { return strings.TrimPrefix(url, "http://") }

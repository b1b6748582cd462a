package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/child"
	"github.com/comptoir/comptoir/test/broker/wire"
)

const (
	connections = 50
	// mostMemory is how far the broker's memory may grow, in megabytes.
	mostMemory = 512
	// answerLimit is how long an honest client waits before it is not served.
	answerLimit = 10 * time.Second
	honestTopic = "honest"
)

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

func TestHostileBytes(t *testing.T) {
	text := os.Getenv("COMPTOIR_HOSTILE")
	if text == "" {
		t.Skip("left out: `make broker-hostile` runs it")
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("COMPTOIR_HOSTILE: %v", err)
	}
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if s := os.Getenv("COMPTOIR_HOSTILE_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("COMPTOIR_HOSTILE_SEED: %v", err)
		}
	}
	t.Logf("%v, seed %d", long, seed)
	p := child.New(t, child.Config{Dir: t.TempDir()})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	addr, _ := p.Started()

	h := &honest{t: t, addr: addr}
	h.prepare()
	alone := h.serve(2 * time.Second)
	before := rss(t, p.PID())

	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var attackers sync.WaitGroup
	var sent atomic.Int64
	for n := range connections {
		attackers.Go(func() {
			a := &attacker{addr: addr, rng: rand.New(rand.NewPCG(seed, uint64(n))), sent: &sent}
			for ctx.Err() == nil {
				a.attack(ctx)
			}
		})
	}
	var most atomic.Int64
	attackers.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-p.Ended():
				cancel()
			case <-tick.C:
				if now := rss(t, p.PID()); now > most.Load() {
					most.Store(now)
				}
			}
		}
	})
	under := h.serve(long - time.Second)
	attackers.Wait()
	select {
	case <-p.Ended():
		t.Fatalf("the broker ended, after %d frames:\n%s", sent.Load(), p.Printed())
	default:
	}
	begun := time.Now()
	h.read()
	t.Logf("%d frames; honest clients alone %s, beside the others %s, their records read one by one in %v; memory %d MB before, %d MB at most, %d MB after",
		sent.Load(), alone, under, time.Since(begun).Round(time.Millisecond), before, most.Load(), rss(t, p.PID()))
	if grown := most.Load() - before; grown > mostMemory {
		t.Errorf("the broker's memory grew by %d MB", grown)
	}
}

// rss is the resident memory in megabytes, 0 of a process that has gone.
func rss(t *testing.T, pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Error(err)
			}
			return kb >> 10
		}
	}
	return 0
}

// honest is a client that does as it should, a record at a time.
type honest struct {
	t     *testing.T
	addr  string
	acked []int64 // offset of each record
}

func (h *honest) do(conn **wire.Conn, req kmsg.Request) kmsg.Response {
	ctx, cancel := context.WithTimeout(h.t.Context(), answerLimit)
	defer cancel()
	if *conn == nil {
		c, err := wire.Dial(ctx, h.addr)
		if err != nil {
			h.t.Errorf("an honest client cannot connect: %v", err)
			return nil
		}
		*conn = c
	}
	resp, err := (*conn).Do(ctx, req)
	if err != nil {
		h.t.Errorf("an honest client: %v", err)
		_ = (*conn).Close()
		*conn = nil
		return nil
	}
	return resp
}

func (h *honest) prepare() {
	var conn *wire.Conn
	resp, ok := h.do(&conn, &kmsg.CreateTopicsRequest{Version: 4, TimeoutMillis: 10_000, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: honestTopic, NumPartitions: 1, ReplicationFactor: 1}}}).(*kmsg.CreateTopicsResponse)
	if !ok || resp.Topics[0].ErrorCode != 0 {
		h.t.Fatalf("create: %+v", resp)
	}
	_ = conn.Close()
}

// serve produces a record every 10 ms, by a new connection now and then, and
// says how long the answers took.
func (h *honest) serve(d time.Duration) string {
	var conn *wire.Conn
	var took []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end) && !h.t.Failed(); <-tick.C {
		begun := time.Now()
		if len(took)%50 == 49 && conn != nil {
			_ = conn.Close()
			conn = nil
		}
		resp, ok := h.do(&conn, wire.Produce(7, honestTopic, 0, wire.New(fmt.Append(nil, len(h.acked))).Encode())).(*kmsg.ProduceResponse)
		if !ok {
			break
		}
		got := resp.Topics[0].Partitions[0]
		if got.ErrorCode != 0 {
			h.t.Errorf("an honest record is refused with %d", got.ErrorCode)
			break
		}
		h.acked = append(h.acked, got.BaseOffset)
		took = append(took, time.Since(begun))
	}
	if conn != nil {
		_ = conn.Close()
	}
	slices.Sort(took)
	if len(took) == 0 {
		return "served nothing"
	}
	return fmt.Sprintf("%d records, median %v, 99 %% %v, longest %v", len(took), took[len(took)/2].Round(10*time.Microsecond),
		took[len(took)*99/100].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
}

// read finds each acknowledged record at its offset.
func (h *honest) read() {
	var conn *wire.Conn
	for n, offset := range h.acked {
		req := kmsg.NewPtrFetchRequest()
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes = offset, 1
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.Partitions = honestTopic, append(ft.Partitions, p)
		req.Version, req.ReplicaID, req.MaxBytes, req.SessionEpoch, req.Topics = 12, -1, 1<<20, -1, append(req.Topics, ft)
		resp, ok := h.do(&conn, req).(*kmsg.FetchResponse)
		if !ok {
			return
		}
		if b := resp.Topics[0].Partitions[0].RecordBatches; !strings.Contains(string(b), fmt.Sprint(n)) {
			h.t.Errorf("record %d is not at its offset %d: %x", n, offset, b)
			return
		}
	}
}

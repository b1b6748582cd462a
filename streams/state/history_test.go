package state

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var historyOrders = flag.Int("state.orders", 200_000, "orders that BenchmarkHistory has in the state before it measures")

// BenchmarkHistory writes what b.N orders leave in the state of a busy instance
// beside -state.orders of a history: four entries for good, their client's, and what
// products have left, in batches as the stages commit. It says what that costs with
// the merges that go on beside it, and how often a byte was written.
//
//	go test ./streams/state -run - -bench History -benchtime 200000x -state.orders 1800000
func BenchmarkHistory(b *testing.B) {
	for _, scattered := range []bool{false, true} {
		name := "sequential"
		if scattered {
			name = "scattered"
		}
		b.Run(name, func(b *testing.B) { benchHistory(b, scattered) })
	}
}

func benchHistory(b *testing.B, scattered bool) {
	db, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	const (
		tasks    = 8
		batch    = 400 // orders of a task's transaction
		clients  = 20_000
		products = 1000
	)
	spaces := map[string][tasks]Space{}
	for _, app := range []string{"stock", "invoice", "payment", "notify", "anomaly"} {
		var s [tasks]Space
		for t := range s {
			if s[t], err = db.Space(app, "s", int32(t)); err != nil {
				b.Fatal(err)
			}
		}
		spaces[app] = s
	}
	rng := rand.New(rand.NewPCG(1, 2))
	id := func(i int) string {
		if scattered {
			return fmt.Sprintf("%016x", rng.Uint64())
		}
		return "BENCH-4f1a-a-" + strconv.Itoa(i)
	}
	write := func(from, to int) {
		for ; from < to; from += batch * tasks {
			// A shop leaves the merges the time they need.
			for db.p.Metrics().Compact.NumInProgress > 0 {
				time.Sleep(time.Millisecond)
			}
			ids := make([][]string, tasks)
			for i := from; i < from+batch*tasks && i < to; i++ {
				t := rng.IntN(tasks)
				ids[t] = append(ids[t], id(i))
			}
			for _, app := range []struct {
				name, store string
				size        int
			}{{"stock", "identites", 60}, {"payment", "paiements", 20}, {"invoice", "commandes", 24}, {"notify", "confirmations", 8}, {"anomaly", "", 0}} {
				bt := db.NewBatch()
				for t := range tasks {
					space := spaces[app.name][t]
					for _, id := range ids[t] {
						if app.size > 0 {
							bt.Set(fmt.Appendf(space[:], "\x09%s%s", app.store, id), make([]byte, app.size))
						} else {
							bt.Set(fmt.Appendf(space[:], "\x0afrequencesBENCH-CLI-%d", rng.IntN(clients)), make([]byte, 40))
						}
					}
					if app.name == "stock" {
						for range min(len(ids[t]), products/tasks) {
							bt.Set(fmt.Appendf(space[:], "\x07niveauxBENCH-P%d", rng.IntN(products/tasks)), make([]byte, 40))
						}
					}
					bt.Set(append(space[:], 0), binary.AppendUvarint(nil, uint64(from)))
				}
				if err := bt.Apply(); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	write(0, *historyOrders)
	before, cpu := db.p.Metrics(), processorTime(b)
	b.ResetTimer()
	write(*historyOrders, *historyOrders+b.N)
	b.StopTimer()
	spent := processorTime(b) - cpu
	after := db.p.Metrics()
	var flushed, compacted uint64
	for l := range after.Levels {
		flushed += after.Levels[l].TableBytesFlushed - before.Levels[l].TableBytesFlushed
		compacted += after.Levels[l].TableBytesCompacted - before.Levels[l].TableBytesCompacted
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs/order")
	b.ReportMetric(float64(flushed)/float64(b.N), "flushed-B/order")
	b.ReportMetric(float64(compacted)/float64(b.N), "merged-B/order")
	b.ReportMetric(float64(after.ReadAmp()), "runs")
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

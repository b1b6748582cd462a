package streams

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var restoreMB = flag.Int("restore-mb", 32, "megabytes of keys and values that BenchmarkRestore has in the changelog")

// BenchmarkRestore is how fast the state of an instance that has none comes from
// a changelog of three partitions: keys and values of 250 bytes, in batches of
// 32 KiB as transactions under load leave them, nine keys in ten met once. It
// runs on Apache Kafka when COMPTOIR_TEST_KAFKA names one.
func BenchmarkRestore(b *testing.B) {
	var c *cluster
	if os.Getenv("COMPTOIR_TEST_KAFKA") != "" {
		c = realCluster(b)
	} else {
		c = newCluster(b)
	}
	c.countingTopics()
	first := c.prepare(b.TempDir(), c.counting)
	if err := first.Start(b.Context()); err != nil { // it makes the changelog
		b.Fatal(err)
	}
	first.halt(b)
	records := *restoreMB << 20 / 250
	c.fillChangelog(records)
	b.SetBytes(int64(records) * 250)
	for b.Loop() {
		b.StopTimer()
		app := c.prepare(b.TempDir(), c.counting)
		b.StartTimer()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		if err := app.Start(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
		b.StopTimer()
		app.halt(b)
		b.StartTimer()
	}
}

// TestRestoreTellsItsProgress holds a restore before its end by a transaction
// that is open there, and looks at what is told meanwhile and after.
func TestRestoreTellsItsProgress(t *testing.T) {
	onClusters(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		c.launch(t.TempDir(), c.counting).halt(t) // makes the changelog
		const records = 31_000
		c.fillChangelog(records)
		var end []func(bool)
		for p := range int32(3) {
			end = append(end, c.transact(fmt.Sprint("foreign", p), &kgo.Record{Topic: c.n("app-state-changelog"), Partition: p,
				Key: append(appendStoreName(nil, "counts"), 'k'), Value: numberSerde.Append(nil, 99)}))
		}
		count, value := metered()
		seen := &logs{}
		app := c.prepare(t.TempDir(), c.counting, count, seen.use)
		started := make(chan error, 1)
		go func() { started <- app.Start(t.Context()) }()
		const restored, bytes, left = "comptoir_stage_restored_records_total", "comptoir_stage_restored_bytes_total", "comptoir_stage_restore_remaining_records"
		c.eventually("30,000 records are counted", func() bool { return value(restored, "") >= 30_000 })
		if n := value(left, ""); n < 3 || n > records {
			t.Errorf("%v offsets remain, want at least the three transactions", n)
		}
		for _, end := range end {
			end(true)
		}
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if n, b, l := value(restored, ""), value(bytes, ""), value(left, ""); n < records || b < 240*records || l != 0 {
			t.Errorf("%v records and %v bytes restored, %v remain, want at least %d, %d and 0", n, b, l, records, 240*records)
		}
		if seen.count("state restored", "mb_per_second=") != 1 {
			t.Error("the end of the restore is not logged")
		}
	})
}

// TestOpeningThatTakesLong holds an opening by a transaction that is open in the
// changelog: health, log and metrics tell of it, it is begun anew after a time,
// and once the transaction has ended all is well.
func TestOpeningThatTakesLong(t *testing.T) {
	c := newCluster(t)
	c.countingTopics()
	c.launch(t.TempDir(), c.counting).halt(t) // makes the changelog
	end := c.transact("foreign", &kgo.Record{Topic: c.n("app-state-changelog"), Partition: 1,
		Key: append(appendStoreName(nil, "counts"), 'k'), Value: numberSerde.Append(nil, 99)})
	count, value := metered()
	seen := &logs{}
	app := c.prepare(t.TempDir(), c.counting, count, seen.use, c.shortSession)
	started := make(chan error, 1)
	go func() { started <- app.Start(t.Context()) }()
	c.eventually("the opening is told of", func() bool {
		health := fmt.Sprint(app.Health())
		return strings.Contains(health, "being opened") && strings.Contains(health, "restoring state") &&
			seen.count("part of the work waits", "restoring state") > 1 && value("comptoir_stage_opening_seconds", "") >= c.session().Seconds()
	})
	c.eventually("it is begun anew", func() bool { return seen.count("opened anew") > 0 })
	end(true)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := app.Health(); err != nil {
		t.Errorf("health at the end: %v", err)
	}
	if n := value("comptoir_stage_opening_seconds", ""); n != 0 {
		t.Errorf("an opening of %v s at the end", n)
	}
}

func (c *cluster) fillChangelog(records int) {
	c.tb.Helper()
	cl, err := c.kafka.New(kgo.ProducerBatchMaxBytes(32<<10), kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer cl.Close()
	filler := make([]byte, 4<<10)
	for i := range filler {
		filler[i] = byte(rand.Uint32())
	}
	name := appendStoreName(nil, "counts")
	var failed error
	for i := range records {
		n := uint64(i)
		if i%10 == 0 {
			n %= 1000
		}
		// Orders' ids come in no order.
		key := fmt.Appendf(append([]byte{}, name...), "CMD-%016x-%08x", n*0x9e3779b97f4a7c15, n)
		value := binary.AppendUvarint(make([]byte, 0, 250), n)
		from := rand.IntN(len(filler) - 250)
		value = append(value, filler[from:from+250-len(value)-len(key)]...)
		cl.Produce(context.Background(), &kgo.Record{Topic: c.n("app-state-changelog"), Partition: int32(n % 3), Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil || failed != nil {
		c.tb.Fatal(err, failed)
	}
}

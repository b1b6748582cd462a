package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func openTest(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func client(t testing.TB, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr()), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(t testing.TB, cl *kgo.Client, topic, value string) {
	t.Helper()
	if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

func consume(t testing.TB, b *Broker, topic string, opts ...kgo.Opt) string {
	t.Helper()
	cl := client(t, b, append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	fs := cl.PollRecords(testContext(t), 1)
	if err := fs.Err(); err != nil {
		t.Fatalf("consume %s: %v", topic, err)
	}
	return string(fs.Records()[0].Value)
}

func TestProduceAndConsumeOverBothWays(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncCommit} {
		t.Run(string(s), func(t *testing.T) {
			b := openTest(t, Config{Sync: s})
			produce(t, client(t, b), "by-tcp", "un")
			produce(t, client(t, b, kgo.Dialer(b.DialContext)), "in-process", "deux")
			if got := consume(t, b, "by-tcp", kgo.Dialer(b.DialContext)); got != "un" {
				t.Errorf("in process: got %q, want un", got)
			}
			if got := consume(t, b, "in-process"); got != "deux" {
				t.Errorf("by TCP: got %q, want deux", got)
			}
		})
	}
}

func TestMembersAreShownWithTheirAddress(t *testing.T) {
	b := openTest(t, Config{})
	cl := client(t, b)
	produce(t, cl, "read", "value")
	member := client(t, b, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("read"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if fs := member.PollRecords(testContext(t), 1); fs.Err() != nil {
		t.Fatal(fs.Err())
	}
	groups, err := kadm.NewClient(cl).DescribeGroups(testContext(t), "g")
	if err != nil {
		t.Fatal(err)
	}
	members := groups["g"].Members
	if len(members) != 1 || members[0].ClientHost != "/127.0.0.1" {
		t.Errorf("members %+v, want one at /127.0.0.1, as Apache Kafka writes it", members)
	}
}

func TestReopenKeepsRecordsOffsetsAndClusterID(t *testing.T) {
	dir := t.TempDir()
	ctx := testContext(t)
	b := openTest(t, Config{Dir: dir})
	cl := client(t, b)
	produce(t, cl, "kept", "value")
	adm := kadm.NewClient(cl)
	var commit kadm.Offsets
	commit.AddOffset("kept", 0, 7, -1)
	if err := adm.CommitAllOffsets(ctx, "g", commit); err != nil {
		t.Fatal(err)
	}
	before, err := adm.BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}

	b = openTest(t, Config{Dir: dir})
	if got := consume(t, b, "kept"); got != "value" {
		t.Errorf("got %q, want value", got)
	}
	adm = kadm.NewClient(client(t, b))
	os, err := adm.FetchOffsets(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := os.Lookup("kept", 0); o.At != 7 {
		t.Errorf("committed offset is %d, want 7", o.At)
	}
	after, err := adm.BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before.Cluster != after.Cluster || before.Cluster == "kfake" {
		t.Errorf("cluster id was %q, is %q", before.Cluster, after.Cluster)
	}
}

// A copy of the directory of a running broker is what kill -9 leaves behind.
func TestAutoCreatedTopicSurvivesAKill(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	b := openTest(t, Config{Dir: dir})
	produce(t, client(t, b), "typed-in-a-console", "order")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b2 := openTest(t, Config{Dir: killed})
	topics, err := kadm.NewClient(client(t, b2)).ListTopics(testContext(t), "typed-in-a-console")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(topics["typed-in-a-console"].Partitions); n != DefaultPartitions {
		t.Fatalf("topic has %d partitions after the kill, want %d", n, DefaultPartitions)
	}
	if got := consume(t, b2, "typed-in-a-console"); got != "order" {
		t.Errorf("got %q, want order", got)
	}
}

func TestShortSessions(t *testing.T) {
	for _, session := range []time.Duration{500 * time.Millisecond, 10 * time.Second} {
		b := openTest(t, Config{})
		produce(t, client(t, b), "t", "v")
		got := consume(t, b, "t", kgo.ConsumerGroup("g"), kgo.SessionTimeout(session), kgo.HeartbeatInterval(session/3))
		if got != "v" {
			t.Errorf("session of %v: got %q", session, got)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	taken := t.TempDir()
	openTest(t, Config{Dir: taken})

	other := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		p := filepath.Join(other, "broker", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	newer := other
	write(formatFile, `{"version":2,"engine":"kfake","cluster_id":"x"}`)
	other = t.TempDir()
	torn := other
	write(formatFile, `{"vers`)
	other = t.TempDir()
	bare := other
	write("data/topics.json", `{}`)

	for _, tc := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"no directory", Config{}, []string{"no directory"}},
		{"taken", Config{Dir: taken}, []string{taken, fmt.Sprint(os.Getpid()), "stop it"}},
		{"newer format", Config{Dir: newer}, []string{"version 2", formatFile}},
		{"torn format", Config{Dir: torn}, []string{formatFile}},
		{"data without format", Config{Dir: bare}, []string{formatFile, "missing"}},
		{"all interfaces", Config{Dir: t.TempDir(), Addr: "0.0.0.0:0"}, []string{"loopback"}},
		{"no port", Config{Dir: t.TempDir(), Addr: "localhost"}, []string{"localhost"}},
		{"sync", Config{Dir: t.TempDir(), Sync: "often"}, []string{"often"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := Open(tc.cfg)
			if err == nil {
				b.Close()
				t.Fatal("opened")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not mention %q", err, w)
				}
			}
		})
	}
	var held *HeldError
	if _, err := Open(Config{Dir: taken}); !errors.As(err, &held) {
		t.Errorf("got %v, want a HeldError", err)
	}
}

func TestPortInUseLeavesTheDirectoryFree(t *testing.T) {
	b := openTest(t, Config{})
	dir := t.TempDir()
	if b2, err := Open(Config{Dir: dir, Addr: b.Addr()}); err == nil {
		b2.Close()
		t.Fatal("two brokers on one port")
	}
	openTest(t, Config{Dir: dir})
}

func frame(key, version int16, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(b, rest...)
}

func TestHostileBytesEndTheConnectionOnly(t *testing.T) {
	b := openTest(t, Config{})
	for name, p := range map[string][]byte{
		"http":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":           {0x16, 3, 1, 2, 0, 1, 0, 1},
		"unknown key":   frame(9999, 0, 0, 0),
		"negative key":  frame(-5, 0, 0, 0),
		"huge":          {0x7f, 0xff, 0xff, 0xff},
		"empty":         {0, 0, 0, 0},
		"old or future": frame(3, 30000, 0xff, 0xff),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection stays open")
			}
		})
	}
	produce(t, client(t, b), "still", "alive")
}

func TestDialAfterClose(t *testing.T) {
	b := openTest(t, Config{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DialContext(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		br, err := Open(Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		br.Close()
	}
}

func BenchmarkProduce(b *testing.B) {
	br := openTest(b, Config{})
	for name, opts := range map[string][]kgo.Opt{
		"tcp":        nil,
		"in-process": {kgo.Dialer(br.DialContext)},
	} {
		cl := client(b, br, append(opts, kgo.ProducerLinger(0))...)
		value := bytes.Repeat([]byte("x"), 200)
		produce(b, cl, "bench", "warm")
		b.Run(name+"/one-by-one", func(b *testing.B) {
			for b.Loop() {
				if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: "bench", Value: value}).FirstErr(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/stream", func(b *testing.B) {
			for b.Loop() {
				cl.Produce(b.Context(), &kgo.Record{Topic: "bench", Value: value}, nil)
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

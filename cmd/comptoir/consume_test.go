package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.yaml.in/yaml/v3"

	"github.com/comptoir/comptoir/internal/kclient"
)

func TestParseOffsets(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	eight := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		in       string
		from, to bound
		err      bool
	}{
		{in: "start", from: bound{kind: boundStart}},
		{in: "end", from: bound{kind: boundEnd}},
		{in: "7", from: bound{kind: boundAt, n: 7}},
		{in: "+7", from: bound{kind: boundStart, n: 7}},
		{in: "-7", from: bound{kind: boundEnd, n: -7}},
		{in: "5:8", from: bound{kind: boundAt, n: 5}, to: bound{kind: boundAt, n: 8}},
		{in: "start:-1", from: bound{kind: boundStart}, to: bound{kind: boundEnd, n: -1}},
		{in: "@2026-11-20T08:00:00Z", from: bound{kind: boundTime, time: eight}},
		{in: "@2026-11-20T08:00:00Z:end", from: bound{kind: boundTime, time: eight}, to: bound{kind: boundEnd}},
		{in: "@2026-11-20T08:00:00Z:@2026-11-20T12:00:00Z", from: bound{kind: boundTime, time: eight}, to: bound{kind: boundTime, time: now}},
		{in: "@2026-11-20", from: bound{kind: boundTime, time: now.Add(-12 * time.Hour)}},
		{in: "@-4h:end", from: bound{kind: boundTime, time: eight}, to: bound{kind: boundEnd}},
		{in: "@1000", from: bound{kind: boundTime, time: time.UnixMilli(1000)}},
		{in: "", err: true}, {in: ":", err: true}, {in: "soon", err: true}, {in: "1:", err: true}, {in: "1:2:3", err: true},
		{in: "5:2", err: true}, {in: "-1:-3", err: true}, {in: "+4:+3", err: true}, {in: "@-1h:@-2h", err: true},
		{in: "@", err: true}, {in: "@4h", err: true}, {in: "@+5", err: true}, {in: "1.5", err: true}, {in: "99999999999999999999", err: true},
	} {
		from, to, err := parseOffsets(tc.in, now)
		if (err != nil) != tc.err {
			t.Errorf("%q: error %v", tc.in, err)
			continue
		}
		if err == nil && (!sameBound(from, tc.from) || !sameBound(to, tc.to)) {
			t.Errorf("%q: %+v %+v, want %+v %+v", tc.in, from, to, tc.from, tc.to)
		}
	}
}

func sameBound(a, b bound) bool { return a.kind == b.kind && a.n == b.n && a.time.Equal(b.time) }

func FuzzParseOffsets(f *testing.F) {
	f.Add("@-1h:end")
	f.Add("@2026-11-20T08:00:00Z:@2026-11-21")
	f.Fuzz(func(t *testing.T, s string) {
		from, to, err := parseOffsets(s, time.UnixMilli(0))
		if err != nil && exitCode(err) != exitUsage {
			t.Fatalf("error without usage code: %v", err)
		}
		if err == nil && (from.kind == boundNone || strings.Count(s, ":") == 0 && to.kind != boundNone) {
			t.Fatalf("%q: %+v %+v", s, from, to)
		}
	})
}

func TestConsumeOffsets(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "1")
	s.ok(`{"value":"a","timestamp":"2026-01-01T00:00:00Z"}
{"value":"b","timestamp":"2026-02-01T00:00:00Z"}
{"value":"c","timestamp":"2026-03-01T00:00:00Z"}
{"value":"d","timestamp":"2026-04-01T00:00:00Z"}
`, "produce", "t", "--input", "json")
	for _, tc := range []struct {
		offset, want string
	}{
		{"start:end", "abcd"}, {"1:3", "bc"}, {"+1:end", "bcd"}, {"-2:end", "cd"}, {"0:-1", "abc"}, {"2:100", "cd"},
		{"@2026-01-15:end", "bcd"}, {"@2026-02-01T00:00:00Z:@2026-04-01T00:00:00Z", "bc"}, {"end:end", ""}, {"1:1", ""}, {"-100:+1", "a"},
	} {
		if got := strings.ReplaceAll(s.ok("", "consume", "t", "--offset", tc.offset), "\n", ""); got != tc.want {
			t.Errorf("--offset %s: %q, want %q", tc.offset, got, tc.want)
		}
	}
	if got := s.ok("", "consume", "t", "--from-beginning", "-n", "2"); got != "a\nb\n" {
		t.Errorf("-n 2: %q", got)
	}
	if got := s.ok("", "consume", "t", "--offset", "-1", "--timeout", "300ms"); got != "d\n" {
		t.Errorf("--timeout: %q", got)
	}
	s.fails(exitPartial, []string{"only 4 of 9"}, "", "consume", "t", "--from-beginning", "-n", "9", "--timeout", "300ms")
	s.fails(exitNotFound, []string{"nope"}, "", "consume", "nope")

	var doc []map[string]any
	dec := yaml.NewDecoder(strings.NewReader(s.ok("", "consume", "t", "--offset", "0:2", "-o", "yaml")))
	for {
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			break
		}
		doc = append(doc, m)
	}
	if len(doc) != 2 || doc[1]["value"] != "b" || doc[1]["offset"] != 1 {
		t.Errorf("yaml: %v", doc)
	}
}

func TestConsumeOnlyCommitted(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "1")
	cl := s.client(kgo.TransactionalID("tx"))
	send := func(value string, end kgo.TransactionEndTry) {
		t.Helper()
		r := &kgo.Record{Topic: "t", Value: []byte(value)}
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := kclient.EndTransaction(t.Context(), cl, end, slices.Values([]*kgo.Record{r})); err != nil {
			t.Fatal(err)
		}
	}
	send("yes", kgo.TryCommit)
	send("no", kgo.TryAbort)
	if got := s.ok("", "consume", "t", "--offset", "start:end"); got != "yes\n" {
		t.Errorf("got %q: a range must end at the marker and show no aborted record", got)
	}
	// The group's commit passes the trailing markers: lag 0.
	s.ok("", "consume", "t", "-g", "g", "--from-beginning", "--timeout", "1s")
	var groups []groupDetail
	s.json(&groups, "group", "describe", "g")
	if groups[0].Lag != 0 {
		t.Errorf("lag %d behind transaction markers", groups[0].Lag)
	}
}

// --last counts records: markers, aborted ones and other partitions do not
// change how many come.
func TestConsumeLast(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "2")
	s.ok("", "topic", "create", "empty")
	if got := s.ok("", "consume", "t", "--last", "3"); got != "" {
		t.Errorf("of an empty topic: %q", got)
	}
	cl := s.client(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	begin := time.Now().Add(-time.Hour)
	send := func(partition int32, second int, value string, end kgo.TransactionEndTry) {
		t.Helper()
		r := &kgo.Record{Topic: "t", Partition: partition, Value: []byte(value), Timestamp: begin.Add(time.Duration(second) * time.Second)}
		if err := errors.Join(cl.BeginTransaction(), cl.ProduceSync(t.Context(), r).FirstErr(), kclient.EndTransaction(t.Context(), cl, end, slices.Values([]*kgo.Record{r}))); err != nil {
			t.Fatal(err)
		}
	}
	send(0, 1, "a", kgo.TryCommit)
	send(1, 2, "b", kgo.TryCommit)
	send(0, 3, "c", kgo.TryCommit)
	for i := range 40 { // more offsets than the first look back covers
		send(0, 4+i, "aborted", kgo.TryAbort)
	}
	send(1, 50, "d", kgo.TryCommit)
	for last, want := range map[string]string{"1": "d", "2": "cd", "3": "bcd", "4": "abcd", "9": "abcd"} {
		if got := strings.ReplaceAll(s.ok("", "consume", "t", "empty", "--last", last), "\n", ""); got != want {
			t.Errorf("--last %s: %q, want %q", last, got, want)
		}
	}
	if out := s.ok("", "consume", "t", "--last", "1", "-o", "json"); !strings.Contains(out, `"value":"d"`) {
		t.Errorf("-o json: %s", out)
	}
}

func TestConsumeInAServicesGroupIsRefused(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t")
	s.member("service-stock", "t", ownProtocol{kgo.CooperativeStickyBalancer()})
	s.fails(exitFailure, []string{"service-stock", "protocol", "another group"}, "", "consume", "t", "-g", "service-stock")
	var groups []groupDetail
	s.json(&groups, "group", "describe", "service-stock")
	if g := groups[0]; g.Members != 1 || len(g.Partitions) != 3 {
		t.Errorf("the service was disturbed: %+v", g)
	}
}

// An interrupt ends consume cleanly, with what was printed committed.
func TestConsumeInterrupted(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "1")
	s.ok("a\nb\n", "produce", "t")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- s.runContext(ctx, "", "consume", "t", "-g", "g", "--from-beginning") }()
	adm := kadm.NewClient(s.client())
	deadline := time.Now().Add(20 * time.Second)
	for {
		os, err := adm.FetchOffsets(t.Context(), "g")
		if o, ok := os.Lookup("t", 0); err == nil && ok && o.At == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the offset was not committed")
		}
	}
	cancel()
	if r := <-done; r.code != exitOK || r.out != "a\nb\n" {
		t.Errorf("exit code %d, output %q, %s", r.code, r.out, r.err)
	}
	groups, err := adm.DescribeGroups(t.Context(), "g")
	if err != nil || len(groups["g"].Members) != 0 {
		t.Errorf("the group was not left: %v (%v)", groups["g"].Members, err)
	}
}

func TestGroupLagSeesAnOpenTransaction(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "1")
	s.ok("a\n", "produce", "t")
	s.ok("", "consume", "t", "-g", "g", "--from-beginning", "-n", "1")
	cl := s.client(kgo.TransactionalID("tx"))
	if err := errors.Join(cl.BeginTransaction(), cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("open")}).FirstErr()); err != nil {
		t.Fatal(err)
	}
	var groups []groupDetail
	s.json(&groups, "group", "describe", "g")
	if groups[0].Lag != 1 {
		t.Errorf("lag %d, want 1 as Kafka's tools show", groups[0].Lag)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

// A group of the new protocol (KIP-848) is described as well.
func TestDescribeModernGroup(t *testing.T) {
	// Apache Kafka has such groups, the embedded broker has not.
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	s := newShell(t)
	s.environ = []string{"COMPTOIR_BROKERS=" + fake.ListenAddrs()[0]}
	s.ok("", "topic", "create", "t", "--partitions", "1")
	cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.RebalanceTimeoutMillis = "modern", "AAAAAAAAAAAAAAAAAAAAAA", 10_000
	req.SubscribedTopicNames = []string{"t"}
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("join: %v, %+v", err, resp)
	}
	var groups []groupDetail
	s.json(&groups, "group", "describe", "modern")
	if g := groups[0]; g.Members != 1 || g.State == "" || g.State == "Dead" {
		t.Errorf("describe: %+v", g)
	}
	s.fails(exitFailure, []string{"1 member"}, "", "group", "reset", "modern", "--topic", "t", "--to-latest", "--execute")
}

func TestOutputKeepsTextText(t *testing.T) {
	var b strings.Builder
	a := &app{out: &b, output: "yaml"}
	v := map[string]any{"id": "0991", "n": json.Number("120.50"), "yes": "yes", "empty": []string{}, "lines": "a\nb", "null": nil}
	if err := a.print(v, nil); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := yaml.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatal(err)
	}
	if back["id"] != "0991" || back["yes"] != "yes" || back["lines"] != "a\nb" || back["n"] != 120.5 || back["null"] != nil {
		t.Errorf("%v\n%s", back, b.String())
	}
	if !strings.Contains(b.String(), "120.50") || strings.Contains(b.String(), "{") {
		t.Errorf("not plain YAML:\n%s", b.String())
	}
}

func TestCellsCannotMoveTheCursor(t *testing.T) {
	if got := cleanCell("a\x1b[2Jb\nc\u0085é"); got != "a?[2Jb?c?é" {
		t.Errorf("got %q", got)
	}
}

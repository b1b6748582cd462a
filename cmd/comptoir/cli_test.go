package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/broker"
)

// shell runs command lines against one embedded broker.
type shell struct {
	t           *testing.T
	broker      *broker.Broker
	dir         string // of the broker
	environ     []string
	interactive bool
}

func newShell(t *testing.T) *shell {
	t.Helper()
	dir := t.TempDir()
	b, err := broker.Open(broker.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return &shell{t: t, broker: b, dir: dir, environ: []string{"COMPTOIR_BROKERS=" + b.Addr()}}
}

type result struct {
	code     int
	out, err string
}

func (s *shell) run(stdin string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	return s.runContext(ctx, stdin, args...)
}

func (s *shell) runContext(ctx context.Context, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &out, err: &errs, environ: s.environ, interactive: s.interactive}
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// ok runs a command that must succeed and returns its output.
func (s *shell) ok(stdin string, args ...string) string {
	s.t.Helper()
	r := s.run(stdin, args...)
	if r.code != exitOK {
		s.t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// fails runs a command that must end with code and mention every word on
// standard error.
func (s *shell) fails(code int, words []string, stdin string, args ...string) {
	s.t.Helper()
	r := s.run(stdin, args...)
	if r.code != code {
		s.t.Errorf("%s: exit code %d, want %d\n%s", strings.Join(args, " "), r.code, code, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			s.t.Errorf("%s: the error does not mention %q:\n%s", strings.Join(args, " "), w, r.err)
		}
	}
}

// json runs a command with -o json and decodes its output.
func (s *shell) json(into any, args ...string) {
	s.t.Helper()
	out := s.ok("", append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *shell) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.broker.Addr())}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(cl.Close)
	return cl
}

// member joins a group until the test ends and returns when it has partitions.
func (s *shell) member(group, topic string, balancer kgo.GroupBalancer) *kgo.Client {
	s.t.Helper()
	assigned := make(chan struct{}, 10)
	cl := s.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(), kgo.ClientID("the-service"),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned <- struct{}{} }))
	select {
	case <-assigned:
	case <-time.After(20 * time.Second):
		s.t.Fatalf("no assignment in group %s", group)
	}
	return cl
}

// ownProtocol is a balancer under a name of its own, as Comptoir's services use.
type ownProtocol struct{ kgo.GroupBalancer }

func (ownProtocol) ProtocolName() string { return "comptoir" }

func TestTopics(t *testing.T) {
	s := newShell(t)
	if out := s.ok("", "topic", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("empty list: %s", out)
	}
	s.ok("", "topic", "create", "a", "b", "--partitions", "2", "--config", "cleanup.policy=compact")
	s.ok("", "topic", "create", "c")
	s.fails(exitFailure, []string{`"c"`, "--if-not-exists"}, "", "topic", "create", "c")
	s.fails(exitPartial, []string{`"c"`}, "", "topic", "create", "c", "d")
	s.ok("", "topic", "create", "c", "--if-not-exists")
	s.fails(exitUsage, []string{"name=value"}, "", "topic", "create", "x", "--config", "novalue")
	s.fails(exitUsage, nil, "", "topic", "create", "x", "--partitions", "0")
	s.fails(exitUsage, []string{"TOPIC"}, "", "topic", "create")

	var rows []topicRow
	s.json(&rows, "topic", "list")
	if len(rows) != 4 || rows[0] != (topicRow{"a", 2, 1, false}) || rows[2] != (topicRow{"c", broker.DefaultPartitions, 1, false}) {
		t.Errorf("list: %+v", rows)
	}
	if out := s.ok("", "topic", "list"); !strings.HasPrefix(out, "TOPIC  PARTITIONS  REPLICATION\na      2           1\n") {
		t.Errorf("table:\n%s", out)
	}

	s.ok("k:v\nk:w\n", "produce", "a", "--key-separator", ":")
	var details []topicDetail
	s.json(&details, "topic", "describe", "a")
	if len(details) != 1 || details[0].Config["cleanup.policy"] != "compact" || len(details[0].Partitions) != 2 {
		t.Fatalf("describe: %+v", details)
	}
	var end int64
	for _, p := range details[0].Partitions {
		if p.Start == nil || *p.Start != 0 || p.Stable == nil || p.End == nil || *p.Stable != *p.End || len(p.Replicas) != 1 {
			t.Errorf("partition: %+v", p)
			continue
		}
		end += *p.End
	}
	if end != 2 {
		t.Errorf("ends add up to %d, want 2", end)
	}
	if out := s.ok("", "topic", "describe", "a"); !strings.Contains(out, "cleanup.policy=compact") || !strings.Contains(out, "PARTITION  LEADER") {
		t.Errorf("describe:\n%s", out)
	}
	s.fails(exitNotFound, []string{"nope", "topic list"}, "", "topic", "describe", "nope")
	s.fails(exitPartial, []string{"nope"}, "", "topic", "describe", "nope", "a")

	s.fails(exitUsage, []string{"--yes"}, "", "topic", "delete", "a")
	s.interactive = true
	s.fails(exitFailure, []string{"Delete a", "nothing was done"}, "n\n", "topic", "delete", "a")
	s.ok("y\n", "topic", "delete", "a")
	s.fails(exitPartial, []string{`"a"`}, "", "topic", "delete", "a", "b", "--yes")
	s.fails(exitNotFound, []string{`"b"`}, "", "topic", "delete", "b", "--yes")
	var done map[string][]string
	s.json(&done, "topic", "delete", "c", "--yes")
	if len(done["deleted"]) != 1 || done["deleted"][0] != "c" {
		t.Errorf("delete -o json: %v", done)
	}
}

func TestGroups(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "2")
	s.ok("1\n2\n3\n4\n5\n", "produce", "t", "-k", "same")
	s.ok("", "consume", "t", "-g", "reader", "--from-beginning", "-n", "3")

	var groups []groupDetail
	s.json(&groups, "group", "describe", "reader")
	if len(groups) != 1 || groups[0].State != "Empty" || groups[0].Lag != 2 || groups[0].Members != 0 {
		t.Fatalf("describe: %+v", groups)
	}
	var list []groupRow
	s.json(&list, "group", "list")
	if len(list) != 1 || list[0] != (groupRow{"reader", "Empty", 0, 2}) {
		t.Errorf("list: %+v", list)
	}
	s.fails(exitNotFound, []string{"nope", "group list"}, "", "group", "describe", "nope")
	s.fails(exitPartial, []string{"nope"}, "", "group", "describe", "nope", "reader")

	m := s.member("busy", "t", kgo.RangeBalancer())
	s.json(&groups, "group", "describe", "busy")
	if g := groups[0]; g.Members != 1 || g.State != "Stable" || len(g.Partitions) != 2 || g.Partitions[0].Client != "the-service" || g.Partitions[0].Committed != nil || g.Partitions[0].Lag != nil {
		t.Errorf("describe: %+v", g)
	}
	if out := s.ok("", "group", "describe", "busy"); !strings.Contains(out, "the-service") || !strings.Contains(out, "COMMITTED  END  LAG") {
		t.Errorf("table:\n%s", out)
	}
	s.fails(exitFailure, []string{"1 member ", "the-service", "stop them"}, "", "group", "reset", "busy", "--topic", "t", "--to-latest", "--execute")
	s.fails(exitFailure, []string{"members"}, "", "group", "delete", "busy", "--yes")
	m.Close()

	s.fails(exitUsage, []string{"--yes"}, "", "group", "delete", "reader")
	s.ok("", "group", "delete", "reader", "--yes")
	s.fails(exitNotFound, []string{"reader"}, "", "group", "delete", "reader", "--yes")
}

func TestReset(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "1")
	s.ok("", "topic", "create", "journal.actions")
	s.ok(`{"value":"a","timestamp":"2026-01-01T00:00:00.000Z"}
{"value":"b","timestamp":"2026-02-01T00:00:00.000Z"}
{"value":"c","timestamp":"2026-03-01T00:00:00.000Z"}
`, "produce", "t", "--input", "json")
	s.ok("", "consume", "t", "-g", "g", "--from-beginning", "-n", "2")

	adm := kadm.NewClient(s.client())
	committed := func() (int64, string) {
		t.Helper()
		os, err := adm.FetchOffsets(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := os.Lookup("t", 0)
		return o.At, o.Metadata
	}
	for _, tc := range []struct {
		args []string
		want int64
	}{
		{[]string{"--to-earliest"}, 0},
		{[]string{"--to-latest"}, 3},
		{[]string{"--to-offset", "1"}, 1},
		{[]string{"--to-offset", "0"}, 0},
		{[]string{"--to-offset", "99"}, 3},
		{[]string{"--shift-by", "-2"}, 1},
		{[]string{"--shift-by", "100"}, 3},
		{[]string{"--to-datetime", "2026-01-15T00:00:00Z"}, 1},
		{[]string{"--to-datetime", "2027-01-15T00:00:00Z"}, 3},
		{[]string{"--to-earliest", "--topic", "t:0"}, 0},
	} {
		before, _ := committed()
		args := append([]string{"group", "reset", "g"}, tc.args...)
		var plan resetPlan
		s.json(&plan, args...)
		if len(plan.Offsets) != 1 || plan.Executed || *plan.Offsets[0].Before != before || plan.Offsets[0].After != tc.want {
			t.Errorf("%v: plan %+v, want %d", tc.args, plan, tc.want)
		}
		if at, _ := committed(); at != before {
			t.Errorf("%v: the dry run moved the offset from %d to %d", tc.args, before, at)
		}
		s.json(&plan, append(args, "--execute")...)
		if at, meta := committed(); at != tc.want || meta != "comptoir:reset" || !plan.Executed {
			t.Errorf("%v: committed %d with %q, want %d with comptoir:reset", tc.args, at, meta, tc.want)
		}
	}
	if r := s.run("", "group", "reset", "g", "--to-latest"); !strings.Contains(r.err, "--execute") {
		t.Errorf("the dry run does not say so: %s", r.err)
	}

	out := s.ok("", "consume", "journal.actions", "--offset", "start:+1", "-o", "json")
	var rec struct{ Key, Value string }
	var entry struct{ Action, Objet, Par, Resultat, Timestamp string }
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &rec); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(rec.Value), &entry); err != nil {
		t.Fatal(err)
	}
	if rec.Key != "g" || entry.Action != "groupe.reset" || entry.Objet != "g" || entry.Par == "" || entry.Resultat != "OK" || entry.Timestamp == "" {
		t.Errorf("journal: %+v", rec)
	}

	s.ok("", "group", "reset", "new", "--topic", "t", "--to-latest", "--execute")
	s.fails(exitNotFound, []string{"nope"}, "", "group", "reset", "nope", "--to-latest")
	s.fails(exitNotFound, []string{"nope"}, "", "group", "reset", "g", "--to-latest", "--topic", "nope")
	s.fails(exitNotFound, []string{"partition 7"}, "", "group", "reset", "g", "--to-latest", "--topic", "t:7")
	s.fails(exitUsage, []string{"exactly one"}, "", "group", "reset", "g")
	s.fails(exitUsage, []string{"exactly one"}, "", "group", "reset", "g", "--to-latest", "--to-offset", "0")
	s.fails(exitUsage, []string{"RFC 3339"}, "", "group", "reset", "g", "--to-datetime", "yesterday")
	s.fails(exitUsage, []string{"TOPIC:0,2"}, "", "group", "reset", "g", "--to-latest", "--topic", "t:x")
	s.fails(exitFailure, []string{"no committed offset"}, "", "group", "reset", "other", "--topic", "t", "--shift-by", "1")
}

// TestResetInternal: what is under way inside an application is not handled
// twice because somebody wanted its input read again.
func TestResetInternal(t *testing.T) {
	s := newShell(t)
	adm := kadm.NewClient(s.client())
	var before kadm.Offsets
	for _, topic := range []string{"t", "u", "g-lines-repartition", "other-lines-repartition"} {
		s.ok("", "topic", "create", topic, "--partitions", "1")
		s.ok("x\n", "produce", topic)
		before.Add(kadm.Offset{Topic: topic, At: 1, LeaderEpoch: -1})
	}
	if err := adm.CommitAllOffsets(t.Context(), "g", before); err != nil {
		t.Fatal(err)
	}
	words := []string{"g-lines-repartition", "twice", "--topic t --topic u"}
	s.fails(exitFailure, words, "", "group", "reset", "g", "--to-earliest", "--execute")
	s.fails(exitFailure, words, "", "group", "reset", "g", "--to-earliest", "--topic", "t", "--topic", "g-lines-repartition:0", "--execute")
	s.fails(exitFailure, words, "", "group", "reset", "g", "--to-earliest")
	after, err := adm.FetchOffsets(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	after.Each(func(o kadm.OffsetResponse) {
		if o.At != 1 {
			t.Errorf("%s was moved to %d", o.Topic, o.At)
		}
	})
	s.ok("", "group", "reset", "g", "--to-earliest", "--topic", "t", "--topic", "u", "--execute")
	// Internal to another application, which this group only looks at.
	s.ok("", "group", "reset", "g", "--to-earliest", "--topic", "other-lines-repartition", "--execute")
}

func TestUsage(t *testing.T) {
	s := &shell{t: t}
	for _, tc := range []struct {
		args  []string
		words []string
	}{
		{[]string{"tpoic"}, []string{"did you mean topic", "comptoir --help"}},
		{[]string{"topic", "lst"}, []string{"did you mean list", "comptoir topic --help"}},
		{[]string{"topic", "list", "x"}, []string{`"x"`}},
		{[]string{"topic", "list", "--bogus"}, []string{"--bogus"}},
		{[]string{"version", "-o", "xml"}, []string{"xml", "table, json, yaml"}},
		{[]string{"topic", "list", "--brokers", "nowhere"}, []string{"host:port"}},
		{[]string{"consume"}, []string{"TOPIC"}},
		{[]string{"consume", "t", "--offset", "soon"}, []string{"--offset", "soon"}},
		{[]string{"consume", "t", "--offset", "5:2"}, []string{"5:2", "before it begins"}},
		{[]string{"consume", "t", "--last", "1", "-n", "1"}, []string{"--last", "--max-messages"}},
		{[]string{"consume", "t", "--last", "-1"}, []string{"--last"}},
		{[]string{"up", "--demo", "--catalogue", "produits.csv"}, []string{"--demo", "produits.csv", "demo catalogue"}},
		{[]string{"consume", "t", "--offset", "1", "--from-beginning"}, []string{"not both"}},
		{[]string{"consume", "t", "--offset", "1", "-g", "g"}, []string{"group reset"}},
		{[]string{"consume", "t", "-f", "%q"}, []string{"--format"}},
		{[]string{"consume", "t", "-f", "%v", "-o", "json"}, []string{"not both"}},
		{[]string{"consume", "t", "-n", "-1"}, []string{"0 or more"}},
		{[]string{"produce", "t", "-k", "a", "--key-separator", ":"}, []string{"not both"}},
		{[]string{"produce", "t", "--input", "xml"}, []string{"xml"}},
		{[]string{"produce", "t", "--input", "json", "-k", "a"}, []string{"--key"}},
		{[]string{"produce", "t", "-H", "novalue"}, []string{"name=value"}},
		{[]string{"connector", "put"}, []string{"-f FILE"}},
	} {
		s.fails(exitUsage, tc.words, "", tc.args...)
	}
	if out := s.ok("", "topic"); !strings.Contains(out, "describe") {
		t.Errorf("a noun alone does not show its commands:\n%s", out)
	}
}

func TestNoCluster(t *testing.T) {
	s := newShell(t)
	if err := s.broker.Close(); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailure, []string{"no Kafka at " + s.broker.Addr(), "comptoir up", "--data-dir", "--brokers"}, "", "topic", "list")
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "alpha")
	s.ok("v\n", "produce", "alpha")
	s.ok("", "consume", "alpha", "-g", "readers", "--from-beginning", "-n", "1")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"topic", "describe", ""}, "alpha"},
		{[]string{"consume", ""}, "alpha"},
		{[]string{"consume", "alpha", "-g", ""}, "readers"},
		{[]string{"group", "reset", ""}, "readers"},
		{[]string{"topic", "list", "-o", ""}, "yaml"},
		{[]string{"topology", "--stage", ""}, "service-stock"},
		{[]string{"serve", "--roles", "stock,"}, "stock,paiement"},
		{[]string{"up", "--sync", ""}, "commit"},
		{[]string{"up", "--log-level", ""}, "debug"},
		{[]string{"serve", "--log-format", ""}, "json"},
	} {
		if out := s.ok("", append([]string{"__complete"}, tc.args...)...); !strings.Contains(out, tc.want+"\n") {
			t.Errorf("%q completes to %q, want %s", tc.args, out, tc.want)
		}
	}
}

func TestVersion(t *testing.T) {
	s := &shell{t: t}
	var v versionInfo
	s.json(&v, "version")
	if v.Version == "" || !strings.HasPrefix(v.Go, "go") {
		t.Errorf("version: %+v", v)
	}
	if out := s.ok("", "version"); !strings.Contains(out, v.Version) {
		t.Errorf("table: %s", out)
	}
}

package crash

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/proxy"
	"github.com/comptoir/comptoir/test/testenv"
)

// instances is how many `comptoir serve` share the work: one for each link.
const instances = testenv.Links

// patience is how long anything may take to be well again: a busy machine's.
const patience = 2 * time.Minute

// fleet is the deployment: every instance reaches Kafka and PostgreSQL through
// proxies of its own.
type fleet struct {
	t         *testing.T
	kafka     *testenv.Cluster
	postgres  *testenv.Server
	links     [instances][testenv.Nodes]*proxy.Proxy
	databases [instances]*proxy.Proxy
	archive   *proxy.Proxy
	members   [instances]*instance
	checked   *checked
	admin     *kadm.Client
}

// instance is one `comptoir serve`, over its lives.
type instance struct {
	t    *testing.T
	past strings.Builder // what its former lives have printed
	dir  string
	disk *testenv.Disk // nil if there can be none
	args []string
	base atomic.Pointer[string] // URL of its API
	*program.Process
}

// start starts it on what it left behind, and returns when it is ready.
func (in *instance) start() {
	in.t.Helper()
	if in.Process != nil {
		in.past.WriteString(in.Output())
	}
	in.Process = program.Start(in.t, in.dir, in.args...)
	in.AwaitReady()
	in.base.Store(&in.Endpoints.HTTP)
}

// well returns once it is ready and nothing is degraded.
func (in *instance) well() {
	in.t.Helper()
	program.Until(in.t, patience, in.dir+" is well", func() error { return in.Health("/readyz") })
}

// need returns the fleet, which the first cell that needs it starts.
func (r *round) need() *fleet {
	r.t.Helper()
	if r.fleet != nil {
		return r.fleet
	}
	begun := time.Now()
	const disk = 1024 // megabytes: more than a round writes, for a server in memory
	f := &fleet{t: r.t, kafka: testenv.StartCluster(r.t, testenv.OnDisk(disk)), postgres: testenv.StartPostgres(r.t, testenv.OnDisk(disk))}
	// It must neither wait long for a node that hangs nor remember how it was.
	client, err := orders.NewClient(f.kafka.Addr, kgo.RequestTimeoutOverhead(2*time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(client.Close)
	f.admin = kadm.NewClient(client)
	base := orders.Generate(orders.Config{Seed: 0, Orders: 1000})
	catalogue := program.Catalogue(r.t, base)
	for i := range instances {
		var brokers []string
		for n := range testenv.Nodes {
			f.links[i][n] = f.listen(f.kafka.Link(i, n))
			brokers = append(brokers, f.links[i][n].Addr)
		}
		database := f.through(&f.databases[i])
		dir := filepath.Join(r.t.TempDir(), "data")
		f.members[i] = &instance{t: r.t, dir: dir, disk: testenv.NewDisk(r.t, dir, disk), args: []string{
			"serve", "--data-dir", dir, "--brokers", strings.Join(brokers, ","), "--database", database,
			"--http", "127.0.0.1:0", "--connect", "127.0.0.1:0", "--catalogue", catalogue,
		}}
	}
	r.t.Cleanup(f.keepLogs)
	f.members[0].start()
	f.checked = &checked{cfg: invariants.Config{Brokers: f.kafka.Addr, Archive: f.postgres.Addr}, database: f.postgres.Addr}
	program.Supply(r.t, f.checked.cfg, base)
	f.connect()
	for _, in := range f.members[1:] {
		in.start()
	}
	r.fleet = f
	f.whole()
	r.t.Logf("ready to be crashed after %.0f s", time.Since(begun).Seconds())
	return f
}

func (f *fleet) listen(addr, target string) *proxy.Proxy {
	f.t.Helper()
	p, err := proxy.Listen(addr, target)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(p.Close)
	return p
}

// through starts a proxy to PostgreSQL, and returns the URL that leads through it.
func (f *fleet) through(p **proxy.Proxy) string {
	f.t.Helper()
	u, err := url.Parse(f.postgres.Addr)
	if err != nil {
		f.t.Fatal(err)
	}
	*p = f.listen("127.0.0.1:0", u.Host)
	u.Host = (*p).Addr
	return u.String()
}

// connect posts the archive connector, which reaches its database through a
// proxy too.
func (f *fleet) connect() {
	f.t.Helper()
	f.through(&f.archive)
	_, port, err := net.SplitHostPort(f.archive.Addr)
	if err != nil {
		f.t.Fatal(err)
	}
	const sink = `{"name":"factures-sink","config":{"connector.class":"io.confluent.connect.jdbc.JdbcSinkConnector","connection.url":"jdbc:postgresql://127.0.0.1:%s/ecommerce","connection.user":"postgres","connection.password":"postgres","topics":"factures.ecommerce","auto.create":"true","insert.mode":"insert"}}`
	status, body, err := f.members[0].Do(http.MethodPost, f.members[0].Endpoints.Connect+"/connectors", fmt.Sprintf(sink, port))
	if err != nil || status != http.StatusCreated {
		f.t.Fatalf("POST /connectors answers %d, %v: %s", status, err, body)
	}
}

// whole returns once nothing is missing: every replica is in sync, every
// instance is well and has work.
func (f *fleet) whole() {
	f.t.Helper()
	f.until("every replica is in sync", f.inSync)
	for i, in := range f.members {
		in.well()
		f.until(fmt.Sprintf("serve-%d has tasks", i+1), func() error {
			n, err := sum(in.Process, "comptoir_stage_tasks{")
			if err == nil && n == 0 {
				err = fmt.Errorf("none")
			}
			return err
		})
	}
}

func (f *fleet) inSync() error {
	topics, err := f.admin.ListTopicsWithInternal(f.t.Context())
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if topic.Err != nil {
			return topic.Err
		}
		for _, p := range topic.Partitions {
			if len(p.ISR) < testenv.Nodes {
				return fmt.Errorf("%s[%d] has %v in sync", topic.Topic, p.Partition, p.ISR)
			}
		}
	}
	return nil
}

// notified is how far notifications.clients has come.
func (f *fleet) notified() (n int64, err error) {
	ends, err := f.admin.ListEndOffsets(f.t.Context(), "notifications.clients")
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, err
}

// goesOn returns once customers hear of something that was not finished yet.
func (f *fleet) goesOn() time.Duration {
	f.t.Helper()
	begun, before := time.Now(), int64(-1)
	f.until("orders go on", func() error {
		now, err := f.notified()
		switch {
		case err != nil:
			return err
		case before < 0:
			before = now
		}
		if now <= before {
			return fmt.Errorf("notifications.clients is still at %d", now)
		}
		return nil
	})
	return time.Since(begun)
}

// until waits for a condition of the deployment. Unlike program.Until it looks a
// few times a second, since each look costs the brokers what the orders need.
func (f *fleet) until(what string, condition func() error) {
	f.t.Helper()
	var last time.Time
	err := errors.New("not looked yet")
	program.Until(f.t, patience, what, func() error {
		if time.Since(last) >= 200*time.Millisecond {
			err = condition()
			last = time.Now()
		}
		return err
	})
}

// keepLogs writes what the instances have printed to files: if it is asked for,
// or if the test failed.
func (f *fleet) keepLogs() {
	dir := os.Getenv("COMPTOIR_CRASH_LOGS")
	if dir == "" && !f.t.Failed() {
		return
	}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "comptoir-crash"); err != nil {
			f.t.Log(err)
			return
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Log(err)
		return
	}
	for i, in := range f.members {
		if in.Process == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("serve-%d.log", i+1)), []byte(in.past.String()+in.Output()), 0o644); err != nil {
			f.t.Log(err)
		}
	}
	f.t.Logf("what the instances printed is kept in %s", dir)
}

// sum adds up the samples of /metrics whose line begins with prefix and holds
// all of the texts.
func sum(p *program.Process, prefix string, holding ...string) (total float64, err error) {
	status, body, err := p.Get(p.Endpoints.HTTP + "/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("/metrics answers %d", status)
	}
	found := false
lines:
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, prefix)
		if !ok {
			continue
		}
		found = true
		for _, text := range holding {
			if !strings.Contains(rest, text) {
				continue lines
			}
		}
		fields := strings.Fields(rest)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, err
		}
		total += value
	}
	if !found {
		return 0, fmt.Errorf("/metrics has no %s", prefix)
	}
	return total, nil
}

package crash

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
	copies    int // of each task's state, on instances that do not own it
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
	f := &fleet{t: r.t, copies: r.copies(), kafka: testenv.StartCluster(r.t, testenv.OnDisk(disk)), postgres: testenv.StartPostgres(r.t, testenv.OnDisk(disk))}
	// It must neither wait long for a node that hangs nor remember how it was.
	client, err := orders.NewClient(f.kafka.Addr, kgo.RequestTimeoutOverhead(2*time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(client.Close)
	f.admin = kadm.NewClient(client)
	base := orders.Generate(orders.Config{Seed: 0, Orders: 1000})
	catalogue := program.Catalogue(r.t, base)
	config := filepath.Join(r.t.TempDir(), "comptoir.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "stream: {standby_copies: %d}\n", f.copies), 0o644); err != nil {
		r.t.Fatal(err)
	}
	for i := range instances {
		var brokers []string
		for n := range testenv.Nodes {
			f.links[i][n] = f.listen(f.kafka.Link(i, n))
			brokers = append(brokers, f.links[i][n].Addr)
		}
		database := f.through(&f.databases[i])
		dir := filepath.Join(r.t.TempDir(), "data")
		f.members[i] = &instance{t: r.t, dir: dir, disk: testenv.NewDisk(r.t, dir, disk), args: []string{
			"serve", "--config", config, "--data-dir", dir, "--brokers", strings.Join(brokers, ","), "--database", database,
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

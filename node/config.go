package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/commerce/audit"
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams/state"
)

// Roles are the parts of Comptoir that an instance runs unless it is told
// otherwise, in the order of an order's way.
var Roles = []string{"api", "relais", "anomalies", "stock", "paiement", "facturation", "notification", "suivi", "connect", "audit"}

// Extra are roles that run only when they are named.
var Extra = []string{"expedition"}

// reserved are the names of roles that are not built yet.
var reserved = []string{"console"}

// Config is the one configuration tree. Default gives every value; a YAML file,
// the environment (COMPTOIR_ and the path in capitals, joined by _) and flags
// change some of them, in rising precedence.
type Config struct {
	DataDir      string    `yaml:"data_dir" doc:"Folder of all local state; one process at a time."`
	HTTP         string    `yaml:"http" doc:"Address of the HTTP listener: order API, probes, metrics, connectors; port 0 takes a free one."`
	Kafka        string    `yaml:"kafka" doc:"Address of the embedded broker (up only), loopback."`
	Connect      string    `yaml:"connect" doc:"Address of the Kafka Connect REST API."`
	Brokers      []string  `yaml:"brokers" doc:"Kafka cluster to use (serve), host:port each."`
	Database     string    `yaml:"database" doc:"URL of the order database (serve), PostgreSQL 15 or later: needed by the roles api, relais, suivi and audit. Not through a pooler that gives each transaction another session, such as PgBouncer in transaction mode: locks belong to a session. up keeps it in commandes.db of data_dir."`
	AdoptCluster string    `yaml:"adopt_cluster" doc:"Id of the Kafka cluster that replaces the one the order database belongs to (serve). Without it another cluster is refused; what was sent to the former one is not sent again, and timelines begin anew."`
	Roles        []string  `yaml:"roles" doc:"What this instance runs: api, relais, anomalies, stock, paiement, facturation, notification, suivi, connect, audit; and expedition, which runs only when it is named. Empty: all but expedition."`
	Sync         string    `yaml:"sync" doc:"When the embedded broker forces records to the disk: commit (before each acknowledgement, many at a time) or interval (every second: a power cut may take the last one)."`
	Catalogue    string    `yaml:"catalogue" doc:"File of products and stock to load at start, JSON or CSV."`
	LogFormat    string    `yaml:"log_format" doc:"text or json."`
	LogLevel     string    `yaml:"log_level" doc:"debug, info, warn or error."`
	Insecure     bool      `yaml:"insecure" doc:"Allows http and connect on addresses that are not loopback, without sign-in."`
	AllowedHosts []string  `yaml:"allowed_hosts" doc:"Host names requests may be for, besides loopback names; * allows all."`
	Pprof        bool      `yaml:"pprof" doc:"Serves Go's profiles of this process under /debug/pprof/ on http: what takes its time and its memory. They show much of its inside, so they are for whoever may see that."`
	DrainDelay   Duration  `yaml:"drain_delay" doc:"How long /readyz fails before a stop begins, so that a gateway notices."`
	Anomalies    Anomalies `yaml:"anomalies"`
	Paiement     Paiement  `yaml:"paiement"`
	Facturation  Invoicing `yaml:"facturation"`
	Identite     Identity  `yaml:"identite"`
	Stream       Stream    `yaml:"stream"`
	Audit        Audit     `yaml:"audit"`
	Traces       Traces    `yaml:"traces"`
}

// Audit says how the role audit checks what all instances do.
type Audit struct {
	Delai   Duration `yaml:"delai" doc:"How long something may be in flight: an order without its next event, a message in the outbox, a record its group has not read. After it the audit calls it a violation."`
	Part    float64  `yaml:"part" doc:"Largest share of one core that the audit takes while the rest of the process works, above 0 to 1. While that does nothing it takes up to a tenth of a core."`
	Archive string   `yaml:"archive" doc:"Invoice archive to compare with: URL of PostgreSQL or path of a SQLite file. Empty: up takes its own archive, serve compares with none."`
	Table   string   `yaml:"table" doc:"Table of the archive, in PostgreSQL schema.table. Empty: factures_ecommerce in SQLite, factures.ecommerce in PostgreSQL."`
}

// Traces says where spans of OpenTelemetry go.
type Traces struct {
	OTLP        string  `yaml:"otlp" doc:"URL of a collector for OTLP by HTTP, such as http://127.0.0.1:4318. Empty: no traces."`
	Echantillon float64 `yaml:"echantillon" doc:"Share of the traces begun here that are recorded, 0 to 1."`
}

// Anomalies are the thresholds of alerts.
type Anomalies struct {
	MontantEleve Money     `yaml:"montant_eleve" doc:"An order above this amount gets the alert MONTANT_ELEVE."`
	Frequence    Frequency `yaml:"frequence"`
}

// Frequency is the threshold of FREQUENCE_ELEVEE.
type Frequency struct {
	Commandes int      `yaml:"commandes" doc:"A client's orders within fenetre above which the alert FREQUENCE_ELEVEE is raised."`
	Fenetre   Duration `yaml:"fenetre" doc:"Length of that window."`
}

// Paiement says who decides on payments.
type Paiement struct {
	Fournisseur string   `yaml:"fournisseur" doc:"simulateur or http."`
	Plafond     Money    `yaml:"plafond" doc:"The simulator refuses orders above this amount."`
	URL         string   `yaml:"url" doc:"Address of the http provider."`
	Timeout     Duration `yaml:"timeout" doc:"Longest wait for one answer of the http provider; then the outcome is asked for."`
}

// Invoicing says how invoices are numbered and taxed.
type Invoicing struct {
	Series  int    `yaml:"series" doc:"Number of invoice series, each numbered by one task. Fixed at first start."`
	Fuseau  string `yaml:"fuseau" doc:"Time zone of the invoice date."`
	TauxTVA Money  `yaml:"taux_tva" doc:"VAT rate in percent, at most 2 decimals."`
	Reprise bool   `yaml:"reprise" doc:"Go on after the last invoice in factures.ecommerce when the counter is lost, instead of refusing to number."`
}

// Identity says how long order ids are remembered.
type Identity struct {
	Duree Duration `yaml:"duree" doc:"How long an order id is remembered; a redelivery after it is a new order."`
}

// Stream tunes the exactly-once library.
type Stream struct {
	CommitInterval    Duration `yaml:"commit_interval" doc:"Longest time a transaction stays open while records keep coming."`
	MinCommitInterval Duration `yaml:"min_commit_interval" doc:"Longest that a commit waits for more records when transactions have taken up much of the time lately; none after a pause."`
	BufferBytes       int      `yaml:"buffer_bytes" doc:"Bytes a task's open transaction may hold in memory before it commits."`
	CacheBytes        int      `yaml:"cache_bytes" doc:"Bytes of the cache over the local state on disk, filled as needed. With less than some 10 MB for a million orders more is read from the disk again and again, which can double what an order costs."`
	StandbyCopies     int      `yaml:"standby_copies" doc:"How many other instances keep a copy of the local state of each task, so that they can take it over without restoring it. Each reads again what the owner writes."`
}

// Default returns the configuration of a laptop.
func Default() Config {
	return Config{
		DataDir:   "./comptoir-data",
		HTTP:      "127.0.0.1:8080",
		Kafka:     "127.0.0.1:9092",
		Connect:   "127.0.0.1:8083",
		Sync:      string(broker.SyncCommit),
		LogFormat: "text",
		LogLevel:  "info",
		Anomalies: Anomalies{
			MontantEleve: 5_000_00,
			Frequence:    Frequency{Commandes: 50, Fenetre: Duration(time.Minute)},
		},
		Paiement:    Paiement{Fournisseur: "simulateur", Plafond: 10_000_00, Timeout: Duration(10 * time.Second)},
		Facturation: Invoicing{Series: 1, Fuseau: "Europe/Paris", TauxTVA: 20_00},
		Identite:    Identity{Duree: Duration(event.IdentityTTL)},
		Stream: Stream{
			CommitInterval:    Duration(100 * time.Millisecond),
			MinCommitInterval: Duration(10 * time.Millisecond),
			StandbyCopies:     1,
			BufferBytes:       4 << 20,
			CacheBytes:        state.DefaultCacheBytes,
		},
		Audit:  Audit{Delai: Duration(audit.DefaultLimit), Part: audit.FollowerShare},
		Traces: Traces{Echantillon: 1},
	}
}

// Load returns the defaults, changed by the file (none if path is empty) and
// then by the environment, given as os.Environ does. It does not Validate:
// flags come after it.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	var errs []error
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("configuration: %w", err)
		}
		if err := c.parse(b); err != nil {
			errs = append(errs, inBlock("configuration "+path, err))
		}
	}
	if err := c.applyEnv(environ); err != nil {
		errs = append(errs, inBlock("environment", err))
	}
	// A flag's is found at the start, before anything else is done.
	if c.Catalogue != "" {
		if _, err := os.Stat(c.Catalogue); err != nil {
			errs = append(errs, fmt.Errorf("configuration: catalogue: %w", err))
		}
	}
	return c, errors.Join(errs...)
}

// inBlock puts what in front of an error, on a line of its own if there are
// several.
func inBlock(what string, err error) error {
	if strings.Contains(err.Error(), "\n") {
		return fmt.Errorf("%s:\n%w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// maxConfig bounds a configuration file: a bigger one is not what was meant.
const maxConfig = 1 << 20

// parse reads one strict YAML document over c. The error names every field that
// is wrong with its line, and then c is unchanged.
func (c *Config) parse(b []byte) error {
	if len(b) > maxConfig {
		return fmt.Errorf("larger than %d bytes", maxConfig)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) { // empty or only comments
		return nil
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("more than one YAML document")
	}
	next := *c
	if errs := decodeStruct(reflect.ValueOf(&next).Elem(), "", doc.Content[0]); len(errs) > 0 {
		return errors.Join(errs...)
	}
	*c = next
	return nil
}

// HasRole says whether this instance runs role.
func (c Config) HasRole(role string) bool {
	if len(c.Roles) == 0 {
		return !slices.Contains(Extra, role)
	}
	return slices.Contains(c.Roles, role)
}

// MarshalYAML keeps passwords out of what is printed.
func (c Config) MarshalYAML() (any, error) {
	type plain Config
	c.Database, c.Paiement.URL, c.Audit.Archive = RedactURL(c.Database), RedactURL(c.Paiement.URL), RedactURL(c.Audit.Archive)
	return plain(c), nil
}

// Money is an amount in minor units that is read and written as a decimal.
type Money event.Amount

// UnmarshalText reads a decimal by value, at most 2 decimals.
func (m *Money) UnmarshalText(b []byte) error {
	a, err := event.ParseAmount(b)
	if err != nil {
		return fmt.Errorf("%q %w", b, err)
	}
	*m = Money(a)
	return nil
}

// MarshalYAML writes the decimal as a number.
func (m Money) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: m.String()}, nil
}

// String returns the shortest decimal.
func (m Money) String() string { return event.Amount(m).String() }

const day = 24 * time.Hour

// Duration is a time.Duration that also knows days: 400d, 1h30m, 100ms.
type Duration time.Duration

// UnmarshalText reads what String writes and every Go duration.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		h, err := time.ParseDuration(n + "h")
		if err != nil || strings.ContainsAny(n, "hmsnuµd") || h > (1<<63-1)/24 || h < -(1<<63-1)/24 {
			return fmt.Errorf("%q is no duration such as 400d, 1h30m or 100ms", s)
		}
		*d = Duration(h * 24)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no duration such as 400d, 1h30m or 100ms", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes whole days as days and drops zero units: 400d, 1m, 1h30m.
func (d Duration) String() string {
	v := time.Duration(d)
	if v != 0 && v%day == 0 {
		return fmt.Sprintf("%dd", v/day)
	}
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

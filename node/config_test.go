package node

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestReferenceIsCurrent(t *testing.T) {
	const name = "../docs/configuration.md"
	if *update {
		if err := os.WriteFile(name, []byte(ConfigReference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != ConfigReference() {
		t.Errorf("%s is not what the program says: run `go test ./node -run TestReferenceIsCurrent -update`", name)
	}
}

func TestEveryFieldHasPathAndDoc(t *testing.T) {
	c := Default()
	for _, f := range c.fields() {
		if f.doc == "" || strings.HasSuffix(f.path, ".") || f.path == "" {
			t.Errorf("field %q: doc %q", f.path, f.doc)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, yaml string
		change     func(*Config)
		err        string
	}{
		{name: "empty", yaml: ""},
		{name: "comment", yaml: "# nothing\n"},
		{name: "values", yaml: "http: 127.0.0.1:0\nroles: [api, stock]\npaiement:\n  plafond: 1e3\n  timeout: 2s\nidentite: {duree: 30d}\nfacturation: {taux_tva: 5.5}\n",
			change: func(c *Config) {
				c.HTTP = "127.0.0.1:0"
				c.Roles = []string{"api", "stock"}
				c.Paiement.Plafond = 1000_00
				c.Paiement.Timeout = Duration(2 * time.Second)
				c.Identite.Duree = Duration(30 * day)
				c.Facturation.TauxTVA = 5_50
			}},
		{name: "unknown field", yaml: "paiement:\n  plafonds: 3\n", err: "line 2"},
		{name: "unknown root", yaml: "htpp: x\n", err: "htpp"},
		{name: "twice", yaml: "http: a:1\nhttp: b:1\n", err: "line 2"},
		{name: "third decimal", yaml: "paiement: {plafond: 1.005}\n", err: "more than 2 decimals"},
		{name: "no duration", yaml: "drain_delay: 5\n", err: "is no duration"},
		{name: "two documents", yaml: "http: a:1\n---\nhttp: b:1\n", err: "more than one"},
		{name: "all errors", yaml: "htpp: a:1\ninsecure: perhaps\nfacturation:\n  series: many\nallowed_hosts: {a: b}\npaiement: 3\n",
			err: "line 1: unknown field \"htpp\": did you mean http?\nline 2: insecure: must be true or false (is \"perhaps\")\nline 4: facturation.series: must be a whole number (is \"many\")\nline 5: allowed_hosts: must be a list\nline 6: paiement must be fields"},
		{name: "no values", yaml: "http:\npaiement:\nbrokers: ~\n"},
		{name: "alias", yaml: "http: &a 127.0.0.1:0\nconnect: *a\n", change: func(c *Config) { c.HTTP, c.Connect = "127.0.0.1:0", "127.0.0.1:0" }},
		{name: "no tree", yaml: "- a\n", err: "line 1"},
		{name: "too large", yaml: strings.Repeat("#", maxConfig+1), err: "larger"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, want := Default(), Default()
			err := got.parse([]byte(tc.yaml))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				tc.change(&want)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestLoadPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("http: 127.0.0.1:1\nkafka: 127.0.0.1:2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{
		"COMPTOIR_HTTP=127.0.0.1:3", "COMPTOIR_BROKERS= a:1, b:2 ,", "COMPTOIR_INSECURE=true", "COMPTOIR_CONNECT=",
		"COMPTOIR_ANOMALIES_FREQUENCE_COMMANDES=7", "COMPTOIR_PAIEMENT_PLAFOND=12.5", "COMPTOIR_IDENTITE_DUREE=2d", "OTHER=1", "strange",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.HTTP, want.Kafka = "127.0.0.1:3", "127.0.0.1:2"
	want.Brokers, want.Insecure = []string{"a:1", "b:2"}, true
	want.Anomalies.Frequence.Commandes, want.Paiement.Plafond, want.Identite.Duree = 7, 12_50, Duration(2*day)
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}

	_, err = Load("", []string{"COMPTOIR_INSECURE=maybe", "COMPTOIR_STREAM_BUFFER_BYTES=1.5"})
	for _, w := range []string{"COMPTOIR_INSECURE", "COMPTOIR_STREAM_BUFFER_BYTES"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not name %s", err, w)
		}
	}
	_, err = Load("", []string{"COMPTOIR_HTPP=x", "COMPTOIR_CONFIG=x", "COMPTOIR_TEST_KAFKA=x", "COMPTOIR_API=x", "COMPTOIR_SERVICE_HOST=x", "COMPTOIR_PORT_8080_TCP_ADDR=x", "COMPTOIR_EMPTY="})
	if err == nil || err.Error() != "environment: unknown variable COMPTOIR_HTPP: did you mean COMPTOIR_HTTP?" {
		t.Errorf("unknown variable: %v", err)
	}
	if _, err := Load("", []string{"COMPTOIR_CATALOGUE=absent.csv"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "catalogue") {
		t.Errorf("absent catalogue: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestValidateNamesThePath(t *testing.T) {
	for path, change := range map[string]func(*Config){
		"data_dir":                      func(c *Config) { c.DataDir = "" },
		"http":                          func(c *Config) { c.HTTP = "0.0.0.0:8080" },
		"connect":                       func(c *Config) { c.Connect = c.HTTP },
		"kafka":                         func(c *Config) { c.Kafka, c.Insecure = "0.0.0.0:9092", true },
		"brokers[1]":                    func(c *Config) { c.Brokers = []string{"a:1", "b"} },
		"brokers[0]":                    func(c *Config) { c.Brokers = []string{"a:0"} },
		"database":                      func(c *Config) { c.Database = "mysql://x" },
		"roles[1]":                      func(c *Config) { c.Roles = []string{"stock", "cook"} },
		"roles[0]":                      func(c *Config) { c.Roles = []string{"console"} },
		"sync":                          func(c *Config) { c.Sync = "never" },
		"log_format":                    func(c *Config) { c.LogFormat = "xml" },
		"log_level":                     func(c *Config) { c.LogLevel = "loud" },
		"allowed_hosts[0]":              func(c *Config) { c.AllowedHosts = []string{"http://a"} },
		"drain_delay":                   func(c *Config) { c.DrainDelay = -1 },
		"anomalies.montant_eleve":       func(c *Config) { c.Anomalies.MontantEleve = 0 },
		"anomalies.frequence.commandes": func(c *Config) { c.Anomalies.Frequence.Commandes = 0 },
		"anomalies.frequence.fenetre":   func(c *Config) { c.Anomalies.Frequence.Fenetre = 1 },
		"paiement.fournisseur":          func(c *Config) { c.Paiement.Fournisseur = "bank" },
		"paiement.plafond":              func(c *Config) { c.Paiement.Plafond = -3 },
		"paiement.url":                  func(c *Config) { c.Paiement.Fournisseur = "http" },
		"paiement.timeout":              func(c *Config) { c.Paiement.Timeout = 0 },
		"facturation.series":            func(c *Config) { c.Facturation.Series = 0 },
		"facturation.fuseau":            func(c *Config) { c.Facturation.Fuseau = "Europe/Lutece" },
		"facturation.taux_tva":          func(c *Config) { c.Facturation.TauxTVA = 100_01 },
		"identite.duree":                func(c *Config) { c.Identite.Duree = 0 },
		"stream.commit_interval":        func(c *Config) { c.Stream.CommitInterval = 0 },
		"stream.min_commit_interval":    func(c *Config) { c.Stream.MinCommitInterval = Duration(time.Hour) },
		"stream.buffer_bytes":           func(c *Config) { c.Stream.BufferBytes = 1 },
		"audit.delai":                   func(c *Config) { c.Audit.Delai = 0 },
		"audit.part":                    func(c *Config) { c.Audit.Part = 0 },
		"stream.cache_bytes":            func(c *Config) { c.Stream.CacheBytes = 1 },
		"stream.standby_copies":         func(c *Config) { c.Stream.StandbyCopies = -1 },
	} {
		t.Run(path, func(t *testing.T) {
			c := Default()
			change(&c)
			err := c.Validate()
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") {
				t.Errorf("error %v does not begin with %q", err, path+": ")
			}
		})
	}
	c := Default()
	c.HTTP, c.Insecure = "0.0.0.0:8080", true
	if err := c.Validate(); err != nil {
		t.Errorf("--insecure: %v", err)
	}
	c = Default()
	c.HTTP, c.Kafka, c.Connect = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if err := c.Validate(); err != nil {
		t.Errorf("three free ports: %v", err)
	}
}

func TestPrintedConfigReadsBack(t *testing.T) {
	c := Default()
	c.Brokers = []string{"a:1"}
	c.Facturation.TauxTVA = 5_50
	b, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	got := Config{}
	if err := got.parse(b); err != nil {
		t.Fatal(err)
	}
	got.Roles, got.AllowedHosts = nil, nil // [] reads back as empty, not nil
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v\nwant %+v\n%s", got, c, b)
	}
	c.Database, c.Paiement.URL = "postgres://u:geheim@h/d", "https://u:geheim@pay/"
	if b, err = yaml.Marshal(c); err != nil || strings.Contains(string(b), "geheim") {
		t.Errorf("password printed: %s (%v)", b, err)
	}
}

func TestDuration(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want time.Duration
		out  string // empty: refused
	}{
		{"400d", 400 * day, "400d"}, {"0.5d", 12 * time.Hour, "12h"}, {"48h", 2 * day, "2d"}, {"60s", time.Minute, "1m"},
		{"1h30m", 90 * time.Minute, "1h30m"}, {"100ms", 100 * time.Millisecond, "100ms"}, {"0s", 0, "0s"}, {"-1d", -day, "-1d"},
		{"1h2d", 0, ""}, {"d", 0, ""}, {"5", 0, ""}, {"", 0, ""}, {"999999999d", 0, ""}, {"1dd", 0, ""},
	} {
		var d Duration
		err := d.UnmarshalText([]byte(tc.in))
		if tc.out == "" {
			if err == nil {
				t.Errorf("%q accepted as %v", tc.in, d)
			}
			continue
		}
		if err != nil || time.Duration(d) != tc.want || d.String() != tc.out {
			t.Errorf("%q: %v, %s (%v), want %v, %s", tc.in, time.Duration(d), d, err, tc.want, tc.out)
		}
	}
}

func TestEndpoints(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadEndpoints(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	want := Endpoints{HTTP: "http://127.0.0.1:1", Kafka: "127.0.0.1:2", Connect: "http://127.0.0.1:3", Database: "/d", Archive: "/a", PID: 4}
	if err := WriteEndpoints(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadEndpoints(dir); err != nil || got != want {
		t.Errorf("got %+v (%v)", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, EndpointsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEndpoints(dir); err == nil || !strings.Contains(err.Error(), EndpointsFile) {
		t.Errorf("torn file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("http: 127.0.0.1:0\npaiement: {plafond: 12.50}\nidentite: {duree: 3d}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := Default()
		if err := c.parse(b); err != nil {
			if !reflect.DeepEqual(c, Default()) {
				t.Fatal("a refused file changed the configuration")
			}
			return
		}
		if c.Validate() != nil || c.Database != "" {
			return
		}
		out, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again := Default()
		if err := again.parse(out); err != nil {
			t.Fatalf("what was accepted does not read back: %v\n%s", err, out)
		}
		if out2, _ := yaml.Marshal(again); string(out2) != string(out) {
			t.Fatalf("changed on the way:\n%s\n%s", out, out2)
		}
	})
}

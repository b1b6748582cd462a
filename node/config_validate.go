package node

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // facturation.fuseau must load on machines without zone files

	"github.com/comptoir/comptoir/broker"
)

// Validate reports everything that cannot work, each line beginning with the
// field's path.
func (c Config) Validate() error {
	var v validation
	v.check("data_dir", c.DataDir != "", "must name a folder")
	v.listen("http", c.HTTP, c.Insecure)
	v.listen("connect", c.Connect, c.Insecure)
	v.listen("kafka", c.Kafka, false)
	v.distinct("http", c.HTTP, "connect", c.Connect)
	v.distinct("http", c.HTTP, "kafka", c.Kafka)
	v.distinct("connect", c.Connect, "kafka", c.Kafka)
	for i, b := range c.Brokers {
		v.add(fmt.Sprintf("brokers[%d]", i), checkHostPort(b, false))
	}
	if c.Database != "" {
		u, err := url.Parse(c.Database)
		v.check("database", err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql"),
			"must be a URL such as postgres://user:password@host:5432/name")
	}
	for i, r := range c.Roles {
		path := fmt.Sprintf("roles[%d]", i)
		if slices.Contains(reserved, r) {
			v.check(path, false, "%s is not built yet", r)
			continue
		}
		v.oneOf(path, r, slices.Concat(Roles, Extra)...)
	}
	v.oneOf("sync", c.Sync, string(broker.SyncCommit), string(broker.SyncInterval))
	v.oneOf("log_format", c.LogFormat, "text", "json")
	v.oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	for i, h := range c.AllowedHosts {
		v.check(fmt.Sprintf("allowed_hosts[%d]", i), h != "" && !strings.ContainsAny(h, "/: "), "must be a host name without scheme and port (is %q)", h)
	}
	v.duration("drain_delay", c.DrainDelay, 0)
	v.check("anomalies.montant_eleve", c.Anomalies.MontantEleve > 0, "must be above 0 (is %s)", c.Anomalies.MontantEleve)
	v.check("anomalies.frequence.commandes", c.Anomalies.Frequence.Commandes >= 1 && c.Anomalies.Frequence.Commandes <= 10_000, "must be 1 to 10000 (is %d)", c.Anomalies.Frequence.Commandes)
	v.duration("anomalies.frequence.fenetre", c.Anomalies.Frequence.Fenetre, time.Second)
	c.Paiement.validate(&v)
	v.check("facturation.series", c.Facturation.Series >= 1 && c.Facturation.Series <= 100, "must be 1 to 100 (is %d)", c.Facturation.Series)
	_, err := time.LoadLocation(c.Facturation.Fuseau)
	v.check("facturation.fuseau", err == nil && c.Facturation.Fuseau != "" && c.Facturation.Fuseau != "Local", "must be a time zone such as Europe/Paris (is %q)", c.Facturation.Fuseau)
	v.check("facturation.taux_tva", c.Facturation.TauxTVA >= 0 && c.Facturation.TauxTVA <= 100_00, "must be 0 to 100 percent (is %s)", c.Facturation.TauxTVA)
	v.duration("identite.duree", c.Identite.Duree, time.Hour)
	v.duration("stream.commit_interval", c.Stream.CommitInterval, time.Millisecond)
	v.duration("stream.min_commit_interval", c.Stream.MinCommitInterval, 0)
	v.check("stream.min_commit_interval", c.Stream.MinCommitInterval <= c.Stream.CommitInterval, "must not be above stream.commit_interval (is %s)", c.Stream.MinCommitInterval)
	v.check("stream.buffer_bytes", c.Stream.BufferBytes >= 64<<10, "must be at least 65536 (is %d)", c.Stream.BufferBytes)
	v.duration("audit.delai", c.Audit.Delai, time.Second)
	v.check("audit.part", c.Audit.Part > 0 && c.Audit.Part <= 1, "must be above 0, at most 1 (is %v)", c.Audit.Part)
	v.check("stream.standby_copies", c.Stream.StandbyCopies >= 0 && c.Stream.StandbyCopies <= 10, "must be 0 to 10 (is %d)", c.Stream.StandbyCopies)
	v.check("stream.cache_bytes", c.Stream.CacheBytes >= 1<<20, "must be at least 1048576 (is %d)", c.Stream.CacheBytes)
	if c.Traces.OTLP != "" {
		u, err := url.Parse(c.Traces.OTLP)
		v.check("traces.otlp", err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "must be an http or https URL such as http://127.0.0.1:4318 (is %q)", RedactURL(c.Traces.OTLP))
	}
	v.check("traces.echantillon", c.Traces.Echantillon >= 0 && c.Traces.Echantillon <= 1, "must be 0 to 1 (is %v)", c.Traces.Echantillon)
	return errors.Join(v.errs...)
}

func (p Paiement) validate(v *validation) {
	v.oneOf("paiement.fournisseur", p.Fournisseur, "simulateur", "http")
	v.check("paiement.plafond", p.Plafond > 0, "must be above 0 (is %s)", p.Plafond)
	v.duration("paiement.timeout", p.Timeout, 100*time.Millisecond)
	if p.Fournisseur == "http" {
		u, err := url.Parse(p.URL)
		v.check("paiement.url", err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "must be an http or https URL when paiement.fournisseur is http (is %q)", RedactURL(p.URL))
	}
}

// validation gathers errors.
type validation struct{ errs []error }

func (v *validation) check(path string, ok bool, format string, args ...any) {
	if !ok {
		v.errs = append(v.errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
}

func (v *validation) add(path string, err error) {
	if err != nil {
		v.errs = append(v.errs, fmt.Errorf("%s: %w", path, err))
	}
}

func (v *validation) oneOf(path, got string, want ...string) {
	v.check(path, slices.Contains(want, got), "must be one of %s (is %q)", strings.Join(want, ", "), got)
}

func (v *validation) duration(path string, d Duration, least time.Duration) {
	v.check(path, time.Duration(d) >= least, "must be at least %s (is %s)", Duration(least), d)
}

func (v *validation) listen(path, addr string, insecure bool) {
	if err := checkHostPort(addr, true); err != nil {
		v.add(path, err)
		return
	}
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if path == "kafka" {
		v.check(path, loopback, "must be a loopback address: the embedded broker has no sign-in (is %q)", addr)
		return
	}
	v.check(path, loopback || insecure, "%q can be reached from other machines and there is no sign-in yet: use a loopback address or --insecure", addr)
}

func (v *validation) distinct(pathA, a, pathB, b string) {
	_, port, _ := net.SplitHostPort(a)
	v.check(pathB, a != b || port == "0" || a == "", "%q is already the address of %s", b, pathA)
}

func checkHostPort(s string, zero bool) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || host == "" && !zero {
		return fmt.Errorf("must be host:port, such as 127.0.0.1:9092 (is %q)", s)
	}
	least := 1
	if zero {
		least = 0
	}
	if n, err := strconv.Atoi(port); err != nil || n < least || n > 65535 {
		return fmt.Errorf("port must be %d to 65535 (is %q)", least, port)
	}
	return nil
}

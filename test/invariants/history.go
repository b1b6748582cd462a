package invariants

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/comptoir/comptoir/test/orders"
)

// Config says what to read.
type Config struct {
	// Brokers is the bootstrap address, host:port.
	Brokers string
	// Archive is where invoices are archived: the path of a SQLite file, or the
	// URL of a PostgreSQL database. Empty: the archive is not checked.
	Archive string
	// Connector fills the archive. Empty: any one does.
	Connector string
	// ArchiveTable defaults to factures_ecommerce in SQLite, and to the table
	// ecommerce of the schema factures in PostgreSQL.
	ArchiveTable string
	// PaymentLimit is up to where the payment simulator accepts, in minor units.
	// Defaults to 10,000.00.
	PaymentLimit int64
}

// Record is one committed record of a topic.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte // nil: absent
	Headers    []orders.Header
	Time       time.Time
}

func (r Record) String() string { return fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset) }

// header returns the values of a header.
func (r Record) header(name string) (values []string) {
	for _, h := range r.Headers {
		if h.Key == name {
			values = append(values, string(h.Value))
		}
	}
	return values
}

// Position is where a group stands in one partition. Committed is -1 if the
// group has committed nothing there.
type Position struct {
	Group, Topic   string
	Partition      int32
	Committed, End int64
}

// History is everything that a run left behind.
type History struct {
	Topics       map[string][]Record // by partition, then offset
	Archive      []map[string]string // a row: column to text; NULL is left out
	Archived     bool                // Archive was read
	Positions    []Position
	PaymentLimit int64
}

// Load reads the history. What is still moving is read up to where it stood.
func Load(ctx context.Context, cfg Config) (*History, error) {
	h := &History{PaymentLimit: cmp.Or(cfg.PaymentLimit, 10_000_00)}
	var err error
	if h.Topics, err = readTopics(ctx, cfg.Brokers); err != nil {
		return nil, err
	}
	if h.Positions, err = readPositions(ctx, cfg.Brokers); err != nil {
		return nil, err
	}
	if cfg.Archive != "" {
		h.Archived = true
		if h.Archive, err = readArchive(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Check loads the history and checks it.
func Check(ctx context.Context, cfg Config) (Report, error) {
	h, err := Load(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	return h.Check(), nil
}

// Violation is one promise that does not hold, and where.
type Violation struct {
	Invariant string
	Detail    string
}

func (v Violation) String() string { return v.Invariant + ": " + v.Detail }

// Report is what a check found.
type Report struct {
	Violations []Violation
	// Outcomes has the end of every order that has a verdict, by order id.
	Outcomes map[string]orders.Outcome
	// Counts of records of commandes.ecommerce, and of what came of them.
	Records, Rejected, Redelivered, Conflicts, Invoices int
}

// Summary is the report in one line.
func (r Report) Summary() string {
	by := map[orders.Outcome]int{}
	for _, o := range r.Outcomes {
		by[o]++
	}
	return fmt.Sprintf("%d records: %d orders (%d invoiced, %d refused by stock, %d by payment), %d rejected, %d redelivered, %d in conflict; %d violations",
		r.Records, len(r.Outcomes), by[orders.Invoiced], by[orders.StockRefused], by[orders.PaymentRefused], r.Rejected, r.Redelivered, r.Conflicts, len(r.Violations))
}

// Compare says where orders did not end as the workload expects.
func (r Report) Compare(w *orders.Workload) (differences []string) {
	for id, want := range w.Expected {
		if got, ok := r.Outcomes[id]; !ok {
			differences = append(differences, fmt.Sprintf("order %q has no outcome, want %s", id, want))
		} else if !want.Allows(got) {
			differences = append(differences, fmt.Sprintf("order %q ended %s, want %s", id, got, want))
		}
	}
	slices.Sort(differences)
	return differences
}

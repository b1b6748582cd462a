package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// GroupLag is how many records, transaction markers included, a consumer group
// is behind the ends of its partitions.
type GroupLag struct {
	Group string
	Lag   int64
	// Err is why the lag is not known; Lag is 0 then.
	Err error
}

// lags asks for the lag of each group, in the order given. The error says that
// nothing could be asked at all.
func lags(ctx context.Context, adm *kadm.Client, groups []string) ([]GroupLag, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	described, err := adm.Lag(ctx, slices.Clone(groups)...)
	if err != nil {
		return nil, fmt.Errorf("ask for the lag of the groups: %w", err)
	}
	out := make([]GroupLag, 0, len(groups))
	for _, name := range groups {
		g, ok := described[name]
		l := GroupLag{Group: name, Err: g.Error()}
		switch {
		case !ok || errors.Is(l.Err, kerr.GroupIDNotFound) || l.Err == nil && g.State == "Dead":
			l.Err = errNoGroup
		case l.Err == nil:
			for _, topic := range g.Lag {
				for _, p := range topic {
					if p.Err != nil {
						l.Err = fmt.Errorf("%s %d: %w", p.Topic, p.Partition, p.Err)
						continue
					}
					l.Lag += p.Lag
				}
			}
		}
		out = append(out, l)
	}
	return out, nil
}

var errNoGroup = errors.New("there is no such group")

// behind says which groups are not at rest. One that does not exist counts only
// if it must.
func behind(lags []GroupLag, mustExist bool) (missing []string) {
	for _, l := range lags {
		switch {
		case l.Err == errNoGroup && !mustExist:
		case l.Err != nil:
			missing = append(missing, fmt.Sprintf("the lag of %s is not known: %v", l.Group, l.Err))
		case l.Lag > 0:
			missing = append(missing, fmt.Sprintf("%s is %s behind", l.Group, plural(int(l.Lag), "record")))
		}
	}
	return missing
}

// archived asks how many of the run's invoices the archive has, and what is
// missing there.
func archived(ctx context.Context, count func(context.Context, []string) (int, error), numbers []string) (rows int, missing []string) {
	rows, err := count(ctx, numbers)
	switch {
	case err != nil:
		missing = append(missing, fmt.Sprintf("the archive does not answer: %v", err))
	case rows != len(numbers):
		missing = append(missing, fmt.Sprintf("the archive has %s for %s", plural(rows, "row"), plural(len(numbers), "invoice")))
	}
	return rows, missing
}

package demo

import (
	"slices"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// Summary is what a run of the demo found.
type Summary struct {
	// Outcomes are the orders, in the order of the script.
	Outcomes []Outcome
	// Latencies are the times from sending an order to having its notification
	// as a reader of committed records, ascending; rejected orders have none.
	Latencies []time.Duration
	// Invoices are the numbers of the run's invoices.
	Invoices []string
	// Archived is how many rows the archive has for them.
	Archived int
	// Lags are the lags of the groups at the end.
	Lags []GroupLag
	// Missing says what had not come to rest at the end, for people; empty when
	// every lag was 0 and the archive had exactly the invoices.
	Missing []string
}

// Outcome is how one order ended.
type Outcome struct {
	Order    event.ID
	Promised State
	Got      State
	// Kept says that the order ended as promised: the state with its reason,
	// by one record of each kind, with the alerts promised.
	Kept bool
}

func (r *run) summary(missing []string) Summary {
	s := Summary{Invoices: r.board.invoices(), Archived: r.rows, Lags: r.latest, Missing: missing}
	for _, p := range r.board.orders {
		s.Outcomes = append(s.Outcomes, Outcome{p.id, p.want.state, p.state(), p.kept()})
		if d, ok := p.latency(); ok {
			s.Latencies = append(s.Latencies, d)
		}
	}
	slices.Sort(s.Latencies)
	return s
}

// count returns how many orders were promised to end in a state, how many did,
// and how many of those promised it did so in every respect.
func (s *Summary) count(state State) (promised, ended, kept int) {
	for _, o := range s.Outcomes {
		if o.Promised == state {
			promised++
			if o.Kept {
				kept++
			}
		}
		if o.Got == state {
			ended++
		}
	}
	return promised, ended, kept
}

// ended returns how many orders came to an end, whichever.
func (s *Summary) ended() (n int) {
	for _, e := range endings {
		_, ended, _ := s.count(e.state)
		n += ended
	}
	return n
}

// percentile returns the nearest rank of sorted times, at least one.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

// shortfall says in what an order differs from its promise.
func shortfall(p *progress) string {
	missing, wrong := p.compare()
	text := strings.Join(slices.Concat(wrong, missing), ", ")
	if text == "" {
		return ""
	}
	return "promised " + string(p.want.state) + ": " + text
}

package invoice

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// Counter is where the numbering of one series stands: at its last invoice. The
// zero Counter has issued none.
type Counter struct {
	Year   int
	Number int64
	// Date is the last invoice's, as 2026-11-20.
	Date string
}

// Counters are the counters of each series, from 1.
type Counters map[int]Counter

// next counts one invoice more, issued now in the zone of invoices. Its date is
// never before the last one's, even if the clock has stepped back; a new year
// begins at 1.
func (c Counter) next(now time.Time) Counter {
	date := now.Format(time.DateOnly)
	if year := now.Year(); year < 0 || year > 9999 {
		// It could not be written; no clock that far off may number invoices.
		panic(fmt.Errorf("no invoice can be issued: the clock shows the year %d", year))
	}
	if c.Date != "" && date < c.Date {
		date = c.Date
	}
	year, _ := decimal(date[:4]) // four digits, by the check above
	if year != c.Year {
		return Counter{Year: year, Number: 1, Date: date}
	}
	return Counter{Year: year, Number: c.Number + 1, Date: date}
}

// number is the number of the last invoice, in a series of so many.
func (c Counter) number(series, of int) string {
	if of > 1 {
		return fmt.Sprintf("FA-%04d-%d-%06d", c.Year, series, c.Number)
	}
	return fmt.Sprintf("FA-%04d-%06d", c.Year, c.Number)
}

// parseNumber reads what number writes.
func parseNumber(s string, of int) (series int, c Counter, ok bool) {
	var year, n string
	if s, ok = strings.CutPrefix(s, "FA-"); !ok {
		return 0, c, false
	}
	if year, s, ok = strings.Cut(s, "-"); !ok || len(year) != 4 {
		return 0, c, false
	}
	series, n = 1, s
	if of > 1 {
		var text string
		if text, n, ok = strings.Cut(s, "-"); !ok || len(text) > 9 {
			return 0, c, false
		}
		if series, ok = decimal(text); !ok || series < 1 || series > of {
			return 0, c, false
		}
	}
	if len(n) < 6 || len(n) > 18 {
		return 0, c, false
	}
	y, ok1 := decimal(year)
	count, ok2 := decimal(n)
	c = Counter{Year: y, Number: int64(count)}
	return series, c, ok1 && ok2 && count > 0 && c.number(series, of) == "FA-"+year+"-"+s
}

// Last returns the last invoice of each series among invoices, all those of
// factures.ecommerce in whatever order, for a numbering with the given number
// of series. Records that are no invoice, as credit notes, are passed over; a
// number that is of another numbering is an error, since the numbering could
// not be gone on with.
func Last(invoices iter.Seq2[event.Invoice, error], series int) (Counters, error) {
	last := Counters{}
	for inv, err := range invoices {
		if err != nil {
			return nil, err
		}
		if inv.Type != event.InvoiceTypeInvoice {
			continue
		}
		s, c, ok := parseNumber(inv.Number, series)
		if !ok {
			return nil, fmt.Errorf("factures.ecommerce holds an invoice with the number %q, which does not belong to a numbering of %d series: check facturation.series", inv.Number, series)
		}
		if _, err := time.Parse(time.DateOnly, inv.Date); err != nil {
			return nil, fmt.Errorf("invoice %s in factures.ecommerce: its date %q is none: %w", inv.Number, inv.Date, err)
		}
		c.Date = inv.Date
		old := last[s]
		if c.Year < old.Year || c.Year == old.Year && c.Number < old.Number {
			c.Year, c.Number = old.Year, old.Number
		}
		c.Date = max(c.Date, old.Date)
		last[s] = c
	}
	return last, nil
}

// NeedsRecovery says whether the numbering must not begin: the counter is
// empty, but invoices of its series are there.
func NeedsRecovery(counterEmpty, topicEmpty bool) bool { return counterEmpty && !topicEmpty }

// LostCounterError says that a task has no counter though its series has
// invoices.
type LostCounterError struct {
	Series int
	Last   string // the number of the last invoice
}

func (e *LostCounterError) Error() string {
	return fmt.Sprintf("no invoice can be numbered: the counter of series %d is empty, but factures.ecommerce holds invoices up to %s; the state of %s and its changelog are lost. "+
		"Make sure that no other instance issues invoices, then start with --recover-counter to go on after %s", e.Series, e.Last, App, e.Last)
}

func errIssued(err error) error {
	return errors.Join(errors.New("no invoice can be numbered: the counter is empty, and factures.ecommerce cannot be read to see where it stood"), err)
}

// decimal reads a number of digits alone.
func decimal(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int(n), err == nil
}

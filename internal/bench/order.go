package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// products is how many products the orders are over.
	products = 1000
	// supply is what each of them has: more than any run orders. It is within
	// what one supply may bring.
	supply = 1_000_000_000
	// leastClients is how many clients the orders are of, at least.
	leastClients = 5000
	// ordersPerClient keeps a client below the threshold of the alert
	// FREQUENCE_ELEVEE, so that a fast run writes the same records as a slow one.
	ordersPerClient = 10
)

// price is of one piece of product p, in tenths.
func price(p int) int64 { return int64(p%90+1)*10 + 5 }

// series are the orders of one phase of a run.
type series struct {
	tag     string // in front of the number of each order: BENCH-<run>-<phase>-
	clients int
}

func newSeries(run, phase string, n int) series {
	return series{tag: "BENCH-" + run + "-" + phase + "-", clients: max(leastClients, n/ordersPerClient)}
}

// order makes the i-th order: 1 to 3 lines, one piece each.
func (s series) order(i int) (key, value []byte) {
	client := strconv.Itoa(i % s.clients)
	key = append(append(make([]byte, 0, 24), "BENCH-CLI-"...), client...)
	b := make([]byte, 0, 320)
	b = append(append(append(b, `{"commandeId":"`...), s.tag...), strconv.Itoa(i)...)
	b = append(append(append(b, `","client":"Client `...), client...), `","montant":`...)
	n := i%3 + 1
	var total int64
	for l := range n {
		total += price(product(i, l))
	}
	b = appendTenths(b, total)
	b = append(b, `,"clientId":"`...)
	b = append(append(b, key...), `","lignes":[`...)
	for l := range n {
		if l > 0 {
			b = append(b, ',')
		}
		p := product(i, l)
		b = strconv.AppendInt(append(b, `{"id_produit":"BENCH-P`...), int64(p), 10)
		b = appendTenths(append(b, `","quantite":1,"prix":`...), price(p))
		b = append(b, '}')
	}
	return key, append(b, `]}`...)
}

// product is that of a line of the i-th order; an order has none twice.
func product(i, line int) int { return (i*7 + line*331) % products }

func appendTenths(b []byte, v int64) []byte {
	b = strconv.AppendInt(b, v/10, 10)
	if v%10 != 0 {
		b = strconv.AppendInt(append(b, '.'), v%10, 10)
	}
	return b
}

// number finds an order of the series in the value of a record that is about
// it: its id stands there before anything else that could hold the tag.
func (s series) number(value []byte) (i int, ok bool) {
	at := bytes.Index(value, []byte(s.tag))
	if at < 0 {
		return 0, false
	}
	digits := value[at+len(s.tag):]
	end := 0
	for end < len(digits) && end < 10 && digits[end] >= '0' && digits[end] <= '9' {
		i = i*10 + int(digits[end]-'0')
		end++
	}
	return i, end > 0
}

// stockUp writes the products and their stock. The supply's id is always the
// same, so that a second run on the same system supplies nothing.
func stockUp(ctx context.Context, cl *kgo.Client) error {
	recs := make([]*kgo.Record, 0, 2*products)
	for p := range products {
		key := fmt.Appendf(nil, "BENCH-P%d", p)
		recs = append(recs,
			&kgo.Record{Topic: topicProducts, Key: key, Value: fmt.Appendf(nil, `{"id_produit":"%s","nom_produit":"Produit de mesure %d","prix":%s}`, key, p, appendTenths(nil, price(p)))},
			&kgo.Record{Topic: topicSupplies, Key: key, Value: fmt.Appendf(nil, `{"id":"BENCH-STOCK","id_produit":"%s","nom_produit":"Produit de mesure %d","quantite":%d}`, key, p, supply)})
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		return fmt.Errorf("write the products: %w", err)
	}
	return nil
}

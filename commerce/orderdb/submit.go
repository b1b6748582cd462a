package orderdb

import (
	"hash/fnv"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// keyLife is how long an idempotency key is kept.
const keyLife = 24 * time.Hour

// keyRow is an idempotency key with its answer.
type keyRow struct {
	Answered
	at int64
}

// productRow is a product while a transaction works on it.
type productRow struct {
	Product
	catalogued bool // name and price are the catalogue's
}

// put takes the catalogue's name and price.
func (p *productRow) put(c *event.Product) Result {
	result := Same
	if !p.catalogued {
		result = Created
	}
	p.catalogued = true
	p.Name, p.Price, p.HasPrice = c.Name, c.Price, c.HasPrice
	return result
}

// submissions is a batch of submissions in a transaction: what the database has
// of the keys, ids and products in it, and what is to be written. What it has
// not is absent (keys) or not stored (orders, products).
type submissions struct {
	shards   int
	keys     map[string]*keyRow
	orders   map[event.ID]*record
	products map[event.ID]*productRow

	messages []*Message
	newKeys  []string
	touched  []*record
	changed  []*productRow
}

// decide says what becomes of s, and notes what is to be written. Those before
// it in the batch count as done.
func (b *submissions) decide(s *Submission) Outcome {
	at := toMillis(s.At)
	if s.Key != "" {
		if k := b.keys[s.Key]; k != nil && k.live(at) {
			if k.Fingerprint != s.Fingerprint {
				return Outcome{Result: KeyReused, Answer: s.Answers[KeyReused]}
			}
			return Outcome{Result: Repeated, Answer: k.Answer}
		}
	}
	result := Created
	switch {
	case s.Order != nil:
		r := b.orders[s.Order.ID]
		if result = r.accept(s.Order, at); result == Created {
			b.touched = append(b.touched, r)
		}
	case s.Product != nil:
		p := b.products[s.Product.ID]
		result = p.put(s.Product)
		b.changed = append(b.changed, p)
	}
	if s.Order == nil || result == Created {
		for i := range s.Messages {
			b.messages = append(b.messages, &s.Messages[i])
		}
	}
	answer := s.Answers[result]
	if s.Key != "" {
		b.keys[s.Key] = &keyRow{Answered{s.Fingerprint, answer}, at}
		b.newKeys = append(b.newKeys, s.Key)
	}
	return Outcome{Result: result, Answer: answer}
}

// live says whether the key still counts at a time.
func (k *keyRow) live(at int64) bool { return k.at > at-keyLife.Milliseconds() }

// shardOf divides the outbox.
func shardOf(key []byte, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write(key) // never fails
	return int(h.Sum32() % uint32(shards))
}

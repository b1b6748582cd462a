package audit

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/wire"
)

// orderFact is what is kept of a record of commandes.ecommerce under its order.
type orderFact struct {
	coherent bool
	at       time.Time // from when on its verdict is awaited
	trace    uint64
	identity digest
	repeats  digest   // what a verdict on it must repeat
	client   string   // clientId
	product  string   // single-line form: what produit says, an id or a name
	products uint64   // otherwise: of all lines
	names    []uint64 // of its lines, as given; 0 for none
}

// eventFact is what is kept of any other record of an order, as far as its topic
// has it.
type eventFact struct {
	at       time.Time
	trace    uint64
	customer uint64
	client   string // of a verdict: clientId
	amount   int64  // of a movement: its quantity
	currency string
	ordered  uint64 // date_commande
	word     string // statut, mouvement, type or gravite
	reason   string
	number   string // of an invoice; of an alert the place it accuses
	body     uint64 // of a notification, or of the one that an invoice calls for
	lines    uint64 // with all that an invoice repeats of them
	repeats  digest // of a verdict: what it repeats of its order
	parts    []lineFact
	codes    codes // of an error
}

// lineFact is a line of a verdict.
type lineFact struct {
	product  string
	name     uint64
	quantity int64
	failed   bool
}

// placeFact is what is kept of a record of commandes.ecommerce under its place.
type placeFact struct {
	at        time.Time
	id        string
	strict    bool
	tombstone bool
	must, may codes
	value     digest // without the blanks around it, if it is strict
	size      int64
	key       uint64 // 0: none
	keySize   int64
	headers   uint64
	headSize  int64
}

// errorFact is what is kept of an error under the place of what it accuses.
type errorFact struct {
	id      string
	reject  bool
	codes   codes
	twice   bool
	form    form
	value   digest
	carried int64 // bytes of the value it carries, or that it says were left out
	size    int64 // of the error itself
	key     uint64
	headers uint64
}

// stepFact is an element of a sequence: a movement, a supply or an invoice.
type stepFact struct {
	at                 time.Time
	kind               string
	quantity           int64 // of an invoice in its partition: its number
	available, reserve int64
	year               int64
	date               string
	row                digest // of an invoice: what the archive must say
}

func (f *orderFact) append(b []byte) []byte {
	b = wire.AppendFlag(b, f.coherent)
	b = binary.AppendVarint(b, f.at.UnixMilli())
	b = binary.BigEndian.AppendUint64(b, f.trace)
	if !f.coherent {
		return b
	}
	b = append(append(b, f.identity[:]...), f.repeats[:]...)
	b = wire.AppendText(wire.AppendText(b, f.client), f.product)
	b = binary.BigEndian.AppendUint64(b, f.products)
	b = binary.AppendUvarint(b, uint64(len(f.names)))
	for _, n := range f.names {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func u64(d *wire.Decoder) uint64 {
	var b [8]byte
	d.Fixed(b[:])
	return binary.BigEndian.Uint64(b[:])
}

func readOrderFact(data []byte) (f orderFact, err error) {
	d := wire.Decode("fact of an order's record", data)
	f.coherent, f.at, f.trace = d.Flag(), d.Millis(), u64(d)
	if f.coherent {
		d.Fixed(f.identity[:])
		d.Fixed(f.repeats[:])
		f.client, f.product, f.products = d.Text(maxID), d.Text(maxID), u64(d)
		f.names = make([]uint64, d.Count(event.MaxLines, 8))
		for i := range f.names {
			f.names[i] = u64(d)
		}
	}
	return f, d.End()
}

func (f *eventFact) append(b []byte) []byte {
	b = binary.AppendVarint(b, f.at.UnixMilli())
	for _, n := range []uint64{f.trace, f.customer, f.ordered, f.body, f.lines} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.AppendVarint(b, f.amount)
	for _, t := range []string{f.client, f.currency, f.word, f.reason, f.number} {
		b = wire.AppendText(b, t)
	}
	b = binary.AppendUvarint(b, uint64(f.codes))
	b = binary.AppendUvarint(b, uint64(len(f.parts)))
	for _, l := range f.parts {
		b = wire.AppendText(b, l.product)
		b = binary.BigEndian.AppendUint64(b, l.name)
		b = wire.AppendFlag(binary.AppendVarint(b, l.quantity), l.failed)
	}
	if len(f.parts) > 0 {
		b = append(b, f.repeats[:]...)
	}
	return b
}

func readEventFact(data []byte) (f eventFact, err error) {
	d := wire.Decode("fact of an event", data)
	f.at = d.Millis()
	for _, n := range []*uint64{&f.trace, &f.customer, &f.ordered, &f.body, &f.lines} {
		*n = u64(d)
	}
	f.amount = d.Varint()
	for _, t := range []*string{&f.client, &f.currency, &f.word, &f.reason, &f.number} {
		*t = d.Text(maxWord)
	}
	f.codes = codes(d.Uvarint(math.MaxUint32))
	if n := d.Count(event.MaxLines, 11); n > 0 {
		f.parts = make([]lineFact, n)
		for i := range f.parts {
			f.parts[i] = lineFact{d.Text(maxWord), u64(d), d.Varint(), d.Flag()}
		}
		d.Fixed(f.repeats[:])
	}
	return f, d.End()
}

// maxWord is how much is kept of a text that should be a word or an id.
const maxWord = 300

// word bounds a text that is kept as it is. A longer one is no id and no word of
// the contract, and stays different from all that are.
func word(s string) string {
	if len(s) > maxWord {
		return s[:maxWord]
	}
	return s
}

func (f *placeFact) append(b []byte) []byte {
	b = binary.AppendVarint(b, f.at.UnixMilli())
	b = wire.AppendText(b, f.id)
	b = wire.AppendFlag(wire.AppendFlag(b, f.strict), f.tombstone)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.must)), uint64(f.may))
	b = append(b, f.value[:]...)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.key), f.headers)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.size)), uint64(f.keySize))
	return binary.AppendUvarint(b, uint64(f.headSize))
}

func readPlaceFact(data []byte) (f placeFact, err error) {
	d := wire.Decode("fact of a record", data)
	f.at, f.id = d.Millis(), d.Text(maxID)
	f.strict, f.tombstone = d.Flag(), d.Flag()
	f.must, f.may = codes(d.Uvarint(math.MaxUint32)), codes(d.Uvarint(math.MaxUint32))
	d.Fixed(f.value[:])
	f.key, f.headers = u64(d), u64(d)
	f.size, f.keySize, f.headSize = d.Uvarint(math.MaxInt64), d.Uvarint(math.MaxInt64), d.Uvarint(math.MaxInt64)
	return f, d.End()
}

func (f *errorFact) append(b []byte) []byte {
	b = wire.AppendText(b, f.id)
	b = wire.AppendFlag(wire.AppendFlag(b, f.reject), f.twice)
	b = append(binary.AppendUvarint(b, uint64(f.codes)), byte(f.form))
	b = append(b, f.value[:]...)
	b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.key), f.headers)
	return binary.AppendUvarint(binary.AppendVarint(b, f.carried), uint64(f.size))
}

func readErrorFact(data []byte) (f errorFact, err error) {
	d := wire.Decode("fact of an error", data)
	f.id = d.Text(maxID)
	f.reject, f.twice = d.Flag(), d.Flag()
	f.codes, f.form = codes(d.Uvarint(math.MaxUint32)), form(d.Byte())
	d.Fixed(f.value[:])
	f.key, f.headers = u64(d), u64(d)
	f.carried, f.size = d.Varint(), d.Uvarint(math.MaxInt64)
	return f, d.End()
}

func (f *stepFact) append(b []byte) []byte {
	b = binary.AppendVarint(b, f.at.UnixMilli())
	b = wire.AppendText(wire.AppendText(b, f.kind), f.date)
	for _, n := range []int64{f.quantity, f.available, f.reserve, f.year} {
		b = binary.AppendVarint(b, n)
	}
	return append(b, f.row[:]...)
}

func readStepFact(data []byte) (f stepFact, err error) {
	d := wire.Decode("fact of a sequence", data)
	f.at, f.kind, f.date = d.Millis(), d.Text(maxWord), d.Text(maxWord)
	for _, n := range []*int64{&f.quantity, &f.available, &f.reserve, &f.year} {
		*n = d.Varint()
	}
	d.Fixed(f.row[:])
	return f, d.End()
}

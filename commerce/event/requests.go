package event

// What the order API reads and writes beside the events themselves. It stands
// here so that requests are read by the same strict reader as records.

// InsertOrderID puts id into the value of an order that has none: in place of a
// null, else as the first field. Nothing else of value changes, which is left
// as it is. ok is false if value is not strict JSON, no object, or has an id.
func InsertOrderID(value []byte, id ID) (with []byte, ok bool) {
	r := newReader(value)
	if r.peek() != '{' {
		r.skip()
		r.finish()
		return nil, false
	}
	from, to := r.i+1, r.i+1 // what the id takes the place of
	found, given := false, false
	o := r.object()
	for o.next() {
		if o.key != "commandeId" {
			o.skip()
			continue
		}
		r.peek()
		from, found = r.i, true
		given = o.token().kind != kindNull
		to = r.i
	}
	if r.finish() != nil || given {
		return nil, false
	}
	with = make([]byte, 0, len(value)+len(`"commandeId":"",`)+len(id))
	with = append(with, value[:from]...)
	if !found {
		with = append(with, `"commandeId":`...)
	}
	with = id.AppendJSON(with)
	if !found && o.n > 0 {
		with = append(with, ',')
	}
	return append(with, value[to:]...), true
}

// Fields calls f with the name of each field of the object value, and the
// field's value as it is spelled, in their order. It says whether value is
// strict JSON and an object; if not, f may have been called for some fields.
func Fields(value []byte, f func(name, spelled string)) bool {
	r := newReader(value)
	o := r.object()
	for o.next() {
		name := o.key
		if spelled := r.raw(); r.err == nil {
			f(name, spelled)
		}
	}
	return r.finish() == nil
}

// Elements calls f with each element of the array value as it is spelled. It says
// whether value is strict JSON and an array; if not, f may have been called for
// some elements.
func Elements(value []byte, f func(spelled string)) bool {
	r := newReader(value)
	if r.peek() != '[' {
		r.mismatch("must be an array")
	} else {
		r.open()
	}
	for a := (array{r: r}); a.next(); {
		if spelled := r.raw(); r.err == nil {
			f(spelled)
		}
	}
	return r.finish() == nil
}

// Strict says whether value is one strict JSON value of at most 1 MiB. It may
// be one level deeper than an order: an ErrorRecord has the order inside.
func Strict(value []byte) bool {
	r := newReader(value)
	r.limit = maxDepth + 1
	r.skip()
	return r.finish() == nil
}

// AppendString appends s as a JSON string in its shortest form; bytes that are
// no UTF-8 become U+FFFD.
func AppendString(b []byte, s string) []byte { return appendString(b, s) }

const (
	errUnknownField = "is not a field of this request"
	errMaxSupply    = "must be at most 1000000000000"
)

// ParseProductRequest reads {"nom_produit","prix"?}, the body that puts the
// product id into the catalogue. What else reading a product shows may stand
// there too: its id_produit, which must be id, and its disponible and reserve,
// which count for nothing. Other fields are refused.
func ParseProductRequest(id ID, body []byte) (Product, error) {
	p := Product{ID: id}
	r := newReader(body)
	o := r.object()
	for o.next() {
		switch o.key {
		case "nom_produit":
			if p.Name = o.text(); !ValidName(p.Name) {
				o.fail(errName)
			}
		case "prix":
			if p.Price, p.HasPrice = o.optionalAmount(); p.Price < 0 {
				o.fail("must not be negative")
			}
		case "id_produit":
			if t := o.token(); t.kind != kindNull && (t.kind != kindString && t.kind != kindInteger || ID(t.text) != id) {
				o.fail("must be the id in the path, " + string(id) + ", if it is given")
			}
		case "disponible", "reserve":
			o.skip()
		default:
			o.fail(errUnknownField)
		}
	}
	o.require("nom_produit")
	if err := r.finish(); err != nil {
		return Product{}, err
	}
	return p, nil
}

// MaxSupply is the most pieces that one request may supply: far above what
// anyone has, and far below what would leave no room in a stock level for more.
const MaxSupply = 1_000_000_000_000

// ParseSupplyRequest reads {"quantite","nom_produit"?}, the body that supplies
// the product, as the Supply id. It refuses other fields.
func ParseSupplyRequest(id, product ID, body []byte) (Supply, error) {
	s := Supply{ID: id, Product: product}
	r := newReader(body)
	o := r.object()
	for o.next() {
		switch o.key {
		case "quantite":
			switch s.Quantity = o.integer(); {
			case s.Quantity < 1:
				o.fail("must be at least 1")
			case s.Quantity > MaxSupply:
				o.fail(errMaxSupply)
			}
		case "nom_produit":
			t := o.token()
			if t.kind == kindNull {
				continue
			}
			if s.Name = o.textOf(t); !ValidName(s.Name) {
				o.fail(errName)
			}
		default:
			o.fail(errUnknownField)
		}
	}
	o.require("quantite")
	if err := r.finish(); err != nil {
		return Supply{}, err
	}
	return s, nil
}

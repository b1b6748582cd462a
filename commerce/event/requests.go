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

const errUnknownField = "is not a field of this request"

// ParseProductRequest reads {"nom_produit","prix"?}, the body that puts the
// product id into the catalogue. It refuses other fields.
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

// ParseSupplyRequest reads {"quantite","nom_produit"?}, the body that supplies
// the product, as the Supply id. It refuses other fields.
func ParseSupplyRequest(id, product ID, body []byte) (Supply, error) {
	s := Supply{ID: id, Product: product}
	r := newReader(body)
	o := r.object()
	for o.next() {
		switch o.key {
		case "quantite":
			if s.Quantity = o.integer(); s.Quantity < 1 {
				o.fail("must be at least 1")
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

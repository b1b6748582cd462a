package event

import "strconv"

// MaxNameBytes is the longest product name that catalogue and supply accept.
// The name is repeated in every event that names the product, up to 500 times
// in one verdict, and that has to fit in a Kafka record.
const MaxNameBytes = 500

// Product is one entry of the catalogue, in catalogue.produits.
type Product struct {
	ID       ID     // id_produit
	Name     string // nom_produit: 1 to 500 bytes, no control characters
	Price    Amount // prix ≥ 0, absent unless HasPrice
	HasPrice bool
}

// Supply is stock coming in, in stock.approvisionnements.
type Supply struct {
	ID       ID     // id: makes the supply idempotent, unique per product
	Product  ID     // id_produit
	Name     string // nom_produit, optional; counts only for an unknown product
	Quantity int64  // quantite, > 0
}

// ValidName says whether s may name a product: 1 to 500 bytes of UTF-8 without
// control characters.
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxNameBytes && clean(s)
}

// AppendJSON appends p as the value of a record of catalogue.produits.
func (p Product) AppendJSON(b []byte) []byte {
	b = append(b, `{"id_produit":`...)
	b = p.ID.AppendJSON(b)
	b = append(b, `,"nom_produit":`...)
	b = appendString(b, p.Name)
	if p.HasPrice {
		b = append(b, `,"prix":`...)
		b = p.Price.AppendJSON(b)
	}
	return append(b, '}')
}

// ParseProduct reads the value of a record of catalogue.produits. It refuses
// what is not a valid Product.
func ParseProduct(value []byte) (p Product, err error) {
	r := newReader(value)
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_produit":
			p.ID = o.id()
		case "nom_produit":
			if p.Name = o.text(); !ValidName(p.Name) {
				o.fail(errName)
			}
		case "prix":
			if p.Price, p.HasPrice = o.optionalAmount(); p.Price < 0 {
				o.fail("must not be negative")
			}
		default:
			o.skip()
		}
	}
	o.require("id_produit", "nom_produit")
	return p, r.end("catalogue.produits")
}

const errName = "must be 1 to 500 bytes without control characters"

// AppendJSON appends s as the value of a record of stock.approvisionnements.
func (s Supply) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = s.ID.AppendJSON(b)
	b = append(b, `,"id_produit":`...)
	b = s.Product.AppendJSON(b)
	b = appendOptional(b, `,"nom_produit":`, s.Name)
	b = append(b, `,"quantite":`...)
	b = strconv.AppendInt(b, s.Quantity, 10)
	return append(b, '}')
}

// ParseSupply reads the value of a record of stock.approvisionnements, which
// any producer may have written. It refuses what is not a valid Supply.
func ParseSupply(value []byte) (s Supply, err error) {
	r := newReader(value)
	o := r.object()
	for o.next() {
		switch o.key {
		case "id":
			s.ID = o.id()
		case "id_produit":
			s.Product = o.id()
		case "nom_produit":
			if s.Name = o.optionalText(); s.Name != "" && !ValidName(s.Name) {
				o.fail(errName)
			}
		case "quantite":
			if s.Quantity = o.integer(); s.Quantity < 1 {
				o.fail("must be at least 1")
			}
		default:
			o.skip()
		}
	}
	o.require("id", "id_produit", "quantite")
	return s, r.end("stock.approvisionnements")
}

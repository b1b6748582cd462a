package anomaly

import (
	"slices"
	"strings"

	"github.com/comptoir/comptoir/commerce/event"
)

// catalogue is catalogue.produits by id and by name.
type catalogue struct {
	products map[event.ID]event.Product
	names    map[string][]event.ID // of each folded name, ascending
}

func newCatalogue() *catalogue {
	return &catalogue{products: map[event.ID]event.Product{}, names: map[string][]event.ID{}}
}

// apply takes in a record of the topic; nil deletes the product of the key.
func (t *catalogue) apply(key event.ID, p *event.Product) {
	id := key
	if p != nil {
		id = p.ID
	}
	if old, ok := t.products[id]; ok {
		name := fold(old.Name)
		ids := slices.DeleteFunc(t.names[name], func(i event.ID) bool { return i == id })
		if t.names[name] = ids; len(ids) == 0 {
			delete(t.names, name)
		}
		delete(t.products, id)
	}
	if p == nil {
		return
	}
	t.products[id] = *p
	name := fold(p.Name)
	at, _ := slices.BinarySearch(t.names[name], id)
	t.names[name] = slices.Insert(t.names[name], at, id)
}

// price returns the price of the product with an id, or else, if names are
// looked at, with a name; the smallest id's if several carry it.
func (t *catalogue) price(product event.ID, names bool) (event.Amount, bool) {
	p, ok := t.products[product]
	if !ok && names {
		if ids := t.names[fold(string(product))]; len(ids) > 0 {
			p = t.products[ids[0]]
		}
	}
	return p.Price, p.HasPrice
}

// fold makes two names equal that differ in case and outer blanks. Upper case
// comes first, since some letters have several lower-case forms.
func fold(name string) string {
	return strings.ToLower(strings.ToUpper(strings.TrimSpace(name)))
}

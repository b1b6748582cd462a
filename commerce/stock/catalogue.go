package stock

import (
	"slices"
	"strings"

	"github.com/comptoir/comptoir/commerce/event"
)

// names finds a product by its id or by its name in the catalogue.
type names struct {
	of map[event.ID]string   // folded name of each product
	by map[string][]event.ID // products of each folded name, smallest id first
}

func newNames() *names {
	return &names{of: map[event.ID]string{}, by: map[string][]event.ID{}}
}

// apply applies a record of the catalogue.
func (n *names) apply(key event.ID, p *event.Product) {
	if p == nil {
		n.remove(key)
	} else {
		n.put(p.ID, p.Name)
	}
}

// fold makes names equal that differ in case and outer blanks alone. Upper case
// comes first since some letters have several lower-case forms.
func fold(name string) string {
	return strings.ToLower(strings.ToUpper(strings.TrimSpace(name)))
}

// put gives a product its name.
func (n *names) put(id event.ID, name string) {
	name = fold(name)
	if old, ok := n.of[id]; ok {
		if old == name {
			return
		}
		n.remove(id)
	}
	n.of[id] = name
	ids := n.by[name]
	at, _ := slices.BinarySearch(ids, id)
	n.by[name] = slices.Insert(ids, at, id)
}

// remove forgets a product.
func (n *names) remove(id event.ID) {
	name, ok := n.of[id]
	if !ok {
		return
	}
	delete(n.of, id)
	ids := n.by[name]
	if len(ids) == 1 {
		delete(n.by, name)
		return
	}
	at, _ := slices.BinarySearch(ids, id)
	n.by[name] = slices.Delete(ids, at, at+1)
}

// resolve turns what an order calls a product into its id: an id of the
// catalogue, else a name of the catalogue (of several products that carry it
// the one whose id is smallest, byte by byte), else the id that it says.
func (n *names) resolve(text string) event.ID {
	if _, ok := n.of[event.ID(text)]; ok {
		return event.ID(text)
	}
	if ids := n.by[fold(text)]; len(ids) > 0 {
		return ids[0]
	}
	return event.ID(text)
}

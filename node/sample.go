package node

import (
	"context"
	"fmt"

	"github.com/comptoir/comptoir/commerce/event"
)

const (
	// samplePrice is the highest price of a sample: dearer orders are flagged.
	samplePrice event.Amount = 5_000_00
	// sampleAmong is among how many products of the order database one is looked
	// for.
	sampleAmong = 100
)

// Sample is a product of this shop with which a newcomer can try an order: one
// in stock with a price, if there is one. ok is false if no product is known.
func (n *Node) Sample() (p event.Product, ok bool) {
	return n.sample.product, n.sample.product.ID != ""
}

// sampleOf chooses among products with what is in stock of them.
func sampleOf(items []item) (best item) {
	worth := func(it item) int {
		switch p := it.product; {
		case p.ID == "":
			return 0
		case it.quantity < 1:
			return 1
		case !p.HasPrice || p.Price < 1 || p.Price > samplePrice:
			return 2
		}
		return 3
	}
	for _, it := range items {
		if worth(it) > worth(best) {
			best = it
		}
	}
	return best
}

// knownItems are the first products of the order database, for a node that has
// loaded none itself.
func (n *Node) knownItems(ctx context.Context) ([]item, error) {
	if n.database == nil {
		return nil, nil
	}
	products, err := n.database.Products(ctx, "", sampleAmong)
	if err != nil {
		return nil, fmt.Errorf("products: %w", err)
	}
	items := make([]item, len(products))
	for i, p := range products {
		items[i] = item{event.Product{ID: p.ID, Name: p.Name, Price: p.Price, HasPrice: p.HasPrice}, p.Available}
	}
	return items, nil
}

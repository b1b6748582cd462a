package orders

import (
	"bytes"
	"fmt"
	"strings"
)

// coherent are the kinds of order that get a verdict.
var coherent = []maker{
	{"one product by id", 330, func(g *generator, kind string) {
		p := g.one(g.plenty)
		d := g.single(ID(p.ID), p.Price, int64(1+g.rng.IntN(5)))
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"one product by name", 80, func(g *generator, kind string) {
		p := g.one(g.plenty)
		name := []string{p.Name, strings.ToUpper(p.Name), "  " + strings.ToLower(p.Name) + " "}[g.rng.IntN(3)]
		d := g.single(quote(name), p.Price, int64(1+g.rng.IntN(3)))
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"amount that the quantity does not divide", 20, func(g *generator, kind string) {
		d := g.total(g.start(), 1000).with("produit", ID(g.one(g.plenty).ID)).with("quantite", "3")
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"several lines", 130, func(g *generator, kind string) {
		lines := make([]Line, 2+g.rng.IntN(6))
		for i := range lines {
			lines[i] = g.line(g.plenty[(g.number+5*i)%len(g.plenty)])
		}
		d := g.several(lines...)
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"two lines of one product", 50, func(g *generator, kind string) {
		a, b := g.one(g.plenty), g.one(g.plenty)
		d := g.several(g.line(a), g.line(b), g.line(a))
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"a line given away", 10, func(g *generator, kind string) {
		free := g.line(g.one(g.plenty))
		free.Price = 0
		d := g.several(g.line(g.one(g.plenty)), free)
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"five hundred lines", 1, func(g *generator, kind string) {
		lines := make([]Line, 500)
		for i := range lines {
			lines[i] = Line{Product: g.plenty[i%len(g.plenty)].ID, Quantity: 1, Price: 1}
		}
		d := g.several(lines...)
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"scarce product", 80, func(g *generator, kind string) {
		p := g.one(g.scarce)
		d := g.single(ID(p.ID), p.Price, int64(1+g.rng.IntN(3)))
		g.expect(d, Contended)
		g.send(kind, d)
	}},
	{"two lines of one scarce product", 15, func(g *generator, kind string) {
		p := g.one(g.scarce)
		d := g.several(Line{p.ID, 1, p.Price, true}, Line{p.ID, 2, p.Price, true})
		g.expect(d, Contended)
		g.send(kind, d)
	}},
	{"scarce and common products", 40, func(g *generator, kind string) {
		d := g.several(g.line(g.one(g.plenty)), g.line(g.scarce[0]), g.line(g.scarce[1+g.rng.IntN(4)]))
		g.expect(d, Contended)
		g.send(kind, d)
	}},
	{"more than there ever is", 15, func(g *generator, kind string) {
		d := g.several(g.line(g.one(g.plenty)), Line{g.empty.ID, 2, g.empty.Price, true})
		g.expect(d, StockRefused)
		g.send(kind, d)
	}},
	{"unknown product", 20, func(g *generator, kind string) {
		d := g.single(quote(fmt.Sprintf("inconnu-%d", g.number)), 999, 1)
		g.expect(d, StockRefused)
		g.send(kind, d)
	}},
	{"unknown among known", 10, func(g *generator, kind string) {
		d := g.several(g.line(g.one(g.plenty)), Line{"inconnu", 1, 500, true})
		g.expect(d, StockRefused)
		g.send(kind, d)
	}},
	{"over the payment limit", 40, func(g *generator, kind string) {
		d := g.several(Line{g.dear.ID, 4, g.dear.Price, true}, Line{g.one(g.plenty).ID, 1, 1, true})
		g.expect(d, PaymentRefused)
		g.send(kind, d)
	}},
	{"at the payment limit", 10, func(g *generator, kind string) {
		d := g.single(ID(g.dear.ID), g.dear.Price, 4)
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"without key", 20, func(g *generator, kind string) {
		p := g.one(g.plenty)
		d := g.single(ID(p.ID), p.Price, 1)
		g.expect(d, Invoiced)
		g.send(kind, d)
		g.w.Orders[len(g.w.Orders)-1].Key = nil
	}},
	{"client id that is not the key", 10, func(g *generator, kind string) {
		p := g.one(g.plenty)
		d := g.total(g.start(), p.Price).with("produit", ID(p.ID))
		d.members = slicesWithout(d.members, `"clientId":`)
		d.with("clientId", quote("COMPTE-"+d.key))
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"nearly 256 KiB", 1, func(g *generator, kind string) {
		p := g.one(g.plenty)
		d := g.single(ID(p.ID), p.Price, 1)
		fill := MaxValueBytes - len(d.value()) - len(`,"commentaire":""`)
		d.with("commentaire", `"`+strings.Repeat("x", fill)+`"`)
		g.expect(d, Invoiced)
		g.send(kind, d)
	}},
	{"redelivered under the same key", 40, func(g *generator, kind string) {
		d := g.single(ID(g.one(g.plenty).ID), 1250, 2)
		g.expect(d, Invoiced)
		g.follow(g.send(kind, d))
	}},
	{"redelivered, spelled otherwise", 15, func(g *generator, kind string) {
		d := g.several(g.line(g.one(g.plenty)), g.line(g.one(g.plenty)))
		g.expect(d, Invoiced)
		r := g.send(kind, d)
		for i, m := range d.members {
			if strings.HasPrefix(m, `"montant":`) {
				d.members[i] = fmt.Sprintf(`"montant" : %de-2`, d.amount)
			}
		}
		d.members[0], d.members[1] = `"\u0063lient":`+quote(d.client), d.members[0]
		r.Value = d.with("relance", "true").value()
		g.follow(r)
	}},
	{"redelivered many times", 3, func(g *generator, kind string) {
		d := g.single(ID(g.one(g.plenty).ID), 500, 1)
		g.expect(d, Invoiced)
		r := g.send(kind, d)
		for range 20 {
			g.follow(r)
		}
	}},
	{"redelivered under another key", 20, func(g *generator, kind string) {
		d := g.single(ID(g.one(g.plenty).ID), 1750, 1)
		g.expect(d, Invoiced)
		r := g.send(kind, d)
		r.Key = fmt.Appendf(nil, "AUTRE-%d", g.rng.IntN(g.clients))
		g.follow(r)
	}},
	{"scarce product, redelivered", 10, func(g *generator, kind string) {
		p := g.one(g.scarce)
		d := g.single(ID(p.ID), p.Price, 1)
		g.expect(d, Contended)
		g.follow(g.send(kind, d))
	}},
	{"refused by stock, redelivered", 5, func(g *generator, kind string) {
		d := g.single(`"inconnu"`, 999, 1)
		g.expect(d, StockRefused)
		g.follow(g.send(kind, d))
	}},
	{"in conflict under the same key", 15, func(g *generator, kind string) {
		d := g.single(ID(g.one(g.plenty).ID), 2000, 1)
		g.expect(d, Invoiced)
		r := g.send(kind, d)
		r.Value = bytes.Replace(r.Value, []byte(`"montant":`), []byte(`"montant":1`), 1)
		r.Conflict = true
		g.follow(r)
	}},
	{"in conflict under another key", 10, func(g *generator, kind string) {
		d := g.single(ID(g.one(g.plenty).ID), 2100, 1)
		g.expect(d, Invoiced)
		g.send(kind, d)
		g.w.Orders[len(g.w.Orders)-1].Conflict = true // whichever comes first wins
		other := &draft{id: d.id, key: fmt.Sprintf("RIVAL-%d", g.rng.IntN(g.clients))}
		other.with("commandeId", ID(d.id)).with("client", `"RIVAL"`).with("montant", "21").with("produit", ID(g.one(g.plenty).ID))
		g.follow(Record{Kind: kind, Key: []byte(other.key), Value: other.value(), Conflict: true})
	}},
}

func slicesWithout(members []string, prefix string) (kept []string) {
	for _, m := range members {
		if !strings.HasPrefix(m, prefix) {
			kept = append(kept, m)
		}
	}
	return kept
}

package orders

import (
	"strings"
)

// fault is one way to be incoherent: a member replaced (or dropped, if literal
// is empty) in an order that is fine otherwise.
type fault struct {
	kind, member, literal string
	codes                 []string
}

func faults() []fault {
	one := func(code string) []string { return []string{code} }
	missing, ill, amount := one("CHAMP_MANQUANT"), one("TYPE_INVALIDE"), one("MONTANT_INVALIDE")
	quantity, lines := one("QUANTITE_INVALIDE"), one("LIGNES_INCOHERENTES")
	return []fault{
		{"no order id", "commandeId", "", missing},
		{"null as order id", "commandeId", "null", missing},
		{"empty order id", "commandeId", `""`, ill},
		{"order id with a fraction", "commandeId", "991.0", ill},
		{"order id with an exponent", "commandeId", "1e3", ill},
		{"order id with a sign", "commandeId", "-5", ill},
		{"order id true", "commandeId", "true", ill},
		{"order id that is a path", "commandeId", `".."`, ill},
		{"order id with a control character", "commandeId", `"a\u0007b"`, ill},
		{"order id of 201 bytes", "commandeId", `"` + strings.Repeat("i", 201) + `"`, ill},
		{"no client", "client", "", missing},
		{"client that is a number", "client", "12", ill},
		{"empty client", "client", `""`, ill},
		{"client of 201 characters", "client", `"` + strings.Repeat("é", 201) + `"`, ill},
		{"ill-formed client id", "clientId", "[]", ill},
		{"e-mail that is a number", "email", "7", ill},
		{"no amount", "montant", "", missing},
		{"amount as text", "montant", `"120.5"`, ill},
		{"amount of nothing", "montant", "0", amount},
		{"negative amount", "montant", "-120.5", amount},
		{"amount with three decimals", "montant", "120.505", amount},
		{"amount too large", "montant", "92233720368547758.08", amount},
		{"amount far too large", "montant", "1e300", amount},
		{"unknown currency", "devise", `"EURO"`, one("DEVISE_INCONNUE")},
		{"currency in small letters", "devise", `"eur"`, one("DEVISE_INCONNUE")},
		{"currency that is a number", "devise", "978", ill},
		{"no product", "produit", "", one("PRODUIT_ABSENT")},
		{"product that is an object", "produit", "{}", ill},
		{"quantity of nothing", "quantite", "0", quantity},
		{"negative quantity", "quantite", "-1", quantity},
		{"quantity too large", "quantite", "1000001", quantity},
		{"quantity as text", "quantite", `"2"`, ill},
		{"time that is none", "timestamp", `"hier"`, ill},
		{"time that is a number", "timestamp", "1763600000", ill},
		{"lines that are no array", "lignes", `{"id_produit":1}`, ill},
		{"no line", "lignes", "[]", lines},
		{"too many lines", "lignes", "[" + strings.Repeat(`{"id_produit":7001,"quantite":1,"prix":0},`, 500) + `{"id_produit":7001,"quantite":1,"prix":10}]`, lines},
		{"lines that do not add up", "lignes", `[{"id_produit":7001,"quantite":2,"prix":4.99}]`, lines},
		{"line that is no object", "lignes", "[7001]", ill},
		{"line without product", "lignes", `[{"quantite":1,"prix":10}]`, missing},
		{"line without quantity", "lignes", `[{"id_produit":7001,"prix":10}]`, missing},
		{"line without price", "lignes", `[{"id_produit":7001,"quantite":1}]`, missing},
		{"line with a negative price", "lignes", `[{"id_produit":7001,"quantite":1,"prix":-10}]`, amount},
		{"line with a quantity of nothing", "lignes", `[{"id_produit":7001,"quantite":0,"prix":10}]`, quantity},
		{"several errors", "montant", `0,"devise":"???","quantite":0`, []string{"DEVISE_INCONNUE", "MONTANT_INVALIDE", "QUANTITE_INVALIDE"}},
	}
}

// incoherent are the kinds of order that must be rejected.
func incoherent() []maker {
	var makers []maker
	for _, f := range faults() {
		makers = append(makers, maker{f.kind, 2, func(g *generator, kind string) {
			members := []string{"commandeId", ID(g.id()), "client", `"LUCAS"`, "montant", "10", "produit", "7001"}
			d, there := &draft{key: "CLI-7"}, false
			for i := 0; i < len(members); i += 2 {
				name, literal := members[i], members[i+1]
				if name == f.member {
					literal, there = f.literal, true
				}
				if literal != "" {
					d.with(name, literal)
				}
			}
			if !there {
				d.with(f.member, f.literal)
			}
			g.send(kind, d, f.codes...)
		}})
	}
	raw := func(kind string, rate int, code string, value func(g *generator) []byte) {
		makers = append(makers, maker{kind, rate, func(g *generator, kind string) {
			g.w.Orders = append(g.w.Orders, Record{Kind: kind, Key: []byte("CLI-7"), Value: value(g), Codes: []string{code}})
		}})
	}
	fixed := func(text string) func(*generator) []byte {
		return func(*generator) []byte { return []byte(text) }
	}
	// around is a value that is right but for what stands in an unknown member.
	around := func(literal string) func(*generator) []byte {
		return func(g *generator) []byte {
			return []byte(`{"commandeId":` + ID(g.id()) + `,"client":"LUCAS","montant":10,"produit":7001,"x":` + literal + `}`)
		}
	}
	const invalid, large = "JSON_INVALIDE", "COMMANDE_TROP_GRANDE"
	raw("tombstone", 10, invalid, func(*generator) []byte { return nil })
	raw("empty value", 2, invalid, func(*generator) []byte { return []byte{} })
	raw("text that is no JSON", 2, invalid, fixed("commande 991 pour LUCAS"))
	raw("cut JSON", 2, invalid, fixed(`{"commandeId":991,"client":"LU`))
	raw("two values", 2, invalid, fixed(`{} {}`))
	raw("JSON that is no object", 2, invalid, fixed(`[1,2,3]`))
	raw("null", 2, invalid, fixed(`null`))
	raw("not UTF-8", 2, invalid, around("\"\xff\xfe\""))
	raw("lone surrogate", 2, invalid, around(`"\ud83d"`))
	raw("duplicate key", 2, invalid, around(`1,"client":"LUCAS"`))
	raw("duplicate key deep inside", 2, invalid, around(`[{"a":1,"\u0061":2}]`))
	raw("too deep", 2, invalid, around(strings.Repeat("[", maxDepth)+strings.Repeat("]", maxDepth)))
	raw("one byte over 256 KiB", 1, large, func(g *generator) []byte {
		value := around(`""`)(g)
		return append(value, strings.Repeat(" ", MaxValueBytes+1-len(value))...)
	})
	raw("900 KB", 2, large, func(g *generator) []byte { return around(`"` + strings.Repeat("y", 900_000) + `"`)(g) })
	return makers
}

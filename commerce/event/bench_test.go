package event

import "testing"

const typicalOrder = `{"commandeId":"CMD-0198f1d2-7c3a-7b1e-9c55-2f6f0f6f1a01","client":"LUCAS MARTIN","clientId":"CLI-991","email":"lucas@example.org",` +
	`"montant":120.5,"devise":"EUR","produit":"PC Gamer","quantite":1,"timestamp":"2026-11-20T09:30:00Z"}`

func BenchmarkParseOrder(b *testing.B) {
	orders := []struct{ name, value string }{
		{"seed", order()},
		{"typical", typicalOrder},
		{"3lines", order("produit", "-", "montant", "180.48", "lignes", `[{"id_produit":1597,"nom_produit":"T-shirt en coton bio","quantite":2,"prix":29.99},`+
			`{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"prix":120.5},{"id_produit":1002,"quantite":1,"prix":0}]`)},
	}
	for _, o := range orders {
		b.Run(o.name, func(b *testing.B) {
			key, value := []byte("CLI-991"), []byte(o.value)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, problems, _ := ParseOrder(key, value, recordTime); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range codecs {
		b.Run(c.topic, func(b *testing.B) {
			value := []byte(c.examples[0].json)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.parse(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range codecs {
		b.Run(c.topic, func(b *testing.B) {
			e := c.examples[0].event
			buf := make([]byte, 0, 1024)
			b.SetBytes(int64(len(c.examples[0].json)))
			b.ReportAllocs()
			for b.Loop() {
				buf = e.AppendJSON(buf[:0])
			}
		})
	}
}

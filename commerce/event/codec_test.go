package event

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	lucas   = Customer{Name: "LUCAS", ID: "CLI-991"}
	withAll = Customer{Name: "Zoé \"Z\"\n\\", ID: "7", Email: "zoe@example.org"}
	at      = time.Date(2026, 11, 20, 9, 30, 0, 5_000_000, time.UTC)
)

// codecs has every event once: how to read it and, per example, what is
// written.
var codecs = []struct {
	topic    string
	parse    func([]byte) (interface{ AppendJSON([]byte) []byte }, error)
	examples []example
	bad      []bad
}{
	{
		"stock.verifie", parser(ParseVerdict),
		[]example{
			{
				Verdict{Order: "991", Status: StatusValid, Customer: lucas, Amount: 12050, Currency: "EUR", OrderedAt: "2026-11-20T10:29:59+01:00", At: at,
					Lines: []VerdictLine{{Product: "1001", Name: "PC Gamer", Quantity: 1, Amount: 12050, Price: 12050, HasPrice: true, Reserved: true}}},
				`{"commandeId":991,"statut":"VALIDE","client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR",` +
					`"lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5,"reserve":true}],` +
					`"date_commande":"2026-11-20T10:29:59+01:00","timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				Verdict{Order: "0991", Status: StatusRefused, Reason: ReasonUnknownProduct, Customer: withAll, Amount: 30, Currency: "USD", OrderedAt: "2026-11-20T09:29:59Z", At: at,
					Lines: []VerdictLine{
						{Product: "1597", Name: "T-shirt en coton bio", Quantity: 3, Amount: 10},
						{Product: "x", Name: "", Quantity: 1, Amount: 20, Price: 0, HasPrice: true, Reason: ReasonUnknownProduct},
					}},
				`{"commandeId":"0991","statut":"REFUSE","motif":"PRODUIT_INCONNU","client":"Zoé \"Z\"\n\\","clientId":7,"email":"zoe@example.org","montant":0.3,"devise":"USD",` +
					`"lignes":[{"id_produit":1597,"nom_produit":"T-shirt en coton bio","quantite":3,"montant":0.1,"reserve":false},` +
					`{"id_produit":"x","nom_produit":"","quantite":1,"montant":0.2,"prix":0,"reserve":false,"motif":"PRODUIT_INCONNU"}],` +
					`"date_commande":"2026-11-20T09:29:59Z","timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
		},
		[]bad{
			{`"lignes":[{"id_produit":1001,`, `"lignes":[{"id_produit":1001.0,`, "lignes[0].id_produit must be an id"},
			{`"montant":120.5,"prix":120.5`, `"montant":120.5,"prix":"1"`, "lignes[0].prix must be a number"},
			{`"reserve":true`, `"reserve":1`, "lignes[0].reserve must be true or false"},
			{`,"reserve":true`, ``, "lignes[0].reserve is missing"},
			{`"lignes":[{`, `"lignes":[null,{`, "lignes[0] must be an object"},
			{`"lignes":[{`, `"lignes":{"x":{`, "not strict JSON"},
			{`"statut":"VALIDE"`, `"statut":null`, "statut is missing"},
			{`"statut":"VALIDE"`, `"statut":1`, "statut must be a string"},
			{`"prix":120.5`, `"prix":null`, ""},
			{`"montant":120.5,"prix":120.5`, `"montant":null,"prix":120.5`, "lignes[0].montant is missing"},
			{`"commandeId":991`, `"commandeId":-1`, "commandeId must be an id"},
			{`:120.5,"devise"`, `:1.005,"devise"`, "montant has more than 2 decimals"},
			{`"quantite":1`, `"quantite":1.0`, "lignes[0].quantite must be an integer"},
			{`"quantite":1`, `"quantite":9223372036854775808`, "lignes[0].quantite is too large"},
			{`.005Z"`, `.005"`, "timestamp is not an RFC 3339 time"},
			{`"client":"LUCAS"`, `"client":"LUCAS","client":"LUCAS"`, `field "client" stands twice`},
			{`"client":"LUCAS"`, `"client":"\ud800"`, "not strict JSON"},
		},
	},
	{
		"stock-mis-a-jour", parser(ParseMovement),
		[]example{
			{
				Movement{Product: "1597", Name: "T-shirt en coton bio", Kind: MovementReserve, Quantity: -1, Available: 41, Reserved: 3, Order: "991", At: at},
				`{"id_produit":1597,"nom_produit":"T-shirt en coton bio","mouvement":"RESERVATION","quantite":-1,"disponible":41,"reserve":3,"id_commande":991,"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				Movement{Product: "1597", Name: "T-shirt en coton bio", Kind: MovementSupply, Quantity: 1000, Available: 1000, Reference: "demo-1597", At: at},
				`{"id_produit":1597,"nom_produit":"T-shirt en coton bio","mouvement":"APPROVISIONNEMENT","quantite":1000,"disponible":1000,"reserve":0,"reference":"demo-1597","timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
		},
		[]bad{
			{`"disponible":41,`, ``, "disponible is missing"},
			{`"id_commande":991`, `"id_commande":""`, "id_commande must be an id"},
			{`"id_commande":991`, `"id_commande":null`, ""},
			{`"quantite":-1`, `"quantite":"-1"`, "quantite must be an integer"},
		},
	},
	{
		"paiement-accepte", parser(ParsePaymentAccepted),
		[]example{{
			PaymentAccepted{Order: "991", Customer: withAll, Amount: 12050, Currency: "EUR", Method: MethodSimulation, Reference: "SIM-991", At: at},
			`{"id_commande":991,"client":"Zoé \"Z\"\n\\","clientId":7,"email":"zoe@example.org","montant":120.5,"devise":"EUR","moyen":"SIMULATION","reference":"SIM-991","timestamp":"2026-11-20T09:30:00.005Z"}`,
		}},
		[]bad{{`"reference":"SIM-991",`, ``, "reference is missing"}, {`"email":"zoe@example.org"`, `"email":5`, "email must be a string"}, {`"email":"zoe@example.org"`, `"email":null`, ""}},
	},
	{
		"paiement-refuse", parser(ParsePaymentRefused),
		[]example{{
			PaymentRefused{Order: "991", Customer: lucas, Amount: 1000001, Currency: "EUR", Reason: ReasonOverLimit, At: at},
			`{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","montant":10000.01,"devise":"EUR","motif":"PLAFOND_DEPASSE","timestamp":"2026-11-20T09:30:00.005Z"}`,
		}},
		[]bad{{`"motif":"PLAFOND_DEPASSE",`, ``, "motif is missing"}},
	},
	{
		"commande-validee", parser(ParseConfirmed),
		[]example{{
			Confirmed{Order: "991", Customer: lucas, Amount: 12050, Currency: "EUR", Invoice: "FA-2026-000001", At: at},
			`{"id_commande":991,"client":"LUCAS","clientId":"CLI-991","montant":120.5,"devise":"EUR","numero_facture":"FA-2026-000001","timestamp":"2026-11-20T09:30:00.005Z"}`,
		}},
		[]bad{{`"numero_facture":"FA-2026-000001",`, ``, "numero_facture is missing"}},
	},
	{
		"factures.ecommerce", parser(ParseInvoice),
		[]example{{
			Invoice{Number: "FA-2026-000001", Type: InvoiceTypeInvoice, Order: "991", Customer: lucas, Date: "2026-11-20",
				Lines: []InvoiceLine{{"1001", "PC Gamer", 1, 12050, 12050, true}, {"1597", "T-shirt", 3, 10000, 0, false}},
				Net:   10042, VAT: 2008, VATRate: 2000, Amount: 12050, Currency: "EUR", OrderedAt: "2026-11-20T09:29:59.000Z", At: at},
			`{"numero":"FA-2026-000001","type":"FACTURE","commandeId":991,"client":"LUCAS","clientId":"CLI-991","date":"2026-11-20",` +
				`"lignes":[{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5},{"id_produit":1597,"nom_produit":"T-shirt","quantite":3,"montant":100}],` +
				`"total_ht":100.42,"tva":20.08,"taux_tva":20,"montant":120.5,"devise":"EUR","date_commande":"2026-11-20T09:29:59.000Z","timestamp":"2026-11-20T09:30:00.005Z"}`,
		}},
		[]bad{
			{`"quantite":3,`, ``, "lignes[1].quantite is missing"},
			{`"taux_tva":20`, `"taux_tva":"20"`, "taux_tva must be a number"},
			{`"lignes":[`, `"lignes":null,"x":[`, "lignes is missing"},
			{`"lignes":[`, `"lignes":"x","x":[`, "lignes must be an array"},
		},
	},
	{
		"notifications.clients", parser(ParseNotification),
		[]example{{
			Notification{ID: "991-CONFIRMATION", Order: "991", Customer: lucas, Type: NotifyConfirmation, Priority: PriorityGeneral, Channel: ChannelLog,
				Subject: "Commande 991 confirmée", Message: "Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-2026-000001, 120.5 EUR.", At: at},
			`{"id":"991-CONFIRMATION","commandeId":991,"client":"LUCAS","clientId":"CLI-991","type":"CONFIRMATION","priorite":"GENERALE","canal":"JOURNAL",` +
				`"sujet":"Commande 991 confirmée","message":"Bonjour LUCAS, votre commande 991 est confirmée. Facture FA-2026-000001, 120.5 EUR.","timestamp":"2026-11-20T09:30:00.005Z"}`,
		}},
		[]bad{{`"canal":"JOURNAL",`, ``, "canal is missing"}},
	},
	{
		"catalogue.produits", parser(ParseProduct),
		[]example{
			{Product{ID: "1597", Name: "T-shirt en coton bio", Price: 2999, HasPrice: true}, `{"id_produit":1597,"nom_produit":"T-shirt en coton bio","prix":29.99}`},
			{Product{ID: "x", Name: "é"}, `{"id_produit":"x","nom_produit":"é"}`},
			{Product{ID: "x", Name: strings.Repeat("n", MaxNameBytes), HasPrice: true}, `{"id_produit":"x","nom_produit":"` + strings.Repeat("n", MaxNameBytes) + `","prix":0}`},
		},
		[]bad{
			{`"prix":29.99`, `"prix":-0.01`, "prix must not be negative"},
			{`"T-shirt en coton bio"`, `""`, "nom_produit must be 1 to 500 bytes"},
			{`"T-shirt en coton bio"`, `"a\u0000b"`, "nom_produit must be 1 to 500 bytes"},
			{`"T-shirt en coton bio"`, `"` + strings.Repeat("n", MaxNameBytes+1) + `"`, "nom_produit must be 1 to 500 bytes"},
		},
	},
	{
		"stock.approvisionnements", parser(ParseSupply),
		[]example{
			{Supply{ID: "demo-1597", Product: "1597", Quantity: 1000}, `{"id":"demo-1597","id_produit":1597,"quantite":1000}`},
			{Supply{ID: "17", Product: "x", Name: "Neuf", Quantity: 1}, `{"id":17,"id_produit":"x","nom_produit":"Neuf","quantite":1}`},
		},
		[]bad{
			{`"quantite":1000`, `"quantite":0`, "quantite must be at least 1"},
			{`"quantite":1000`, `"quantite":-1`, "quantite must be at least 1"},
			{`"quantite":1000`, `"quantite":1e3`, "quantite must be an integer"},
			{`"quantite":1000`, `"quantite":null`, "quantite is missing"},
			{`"quantite":1000`, `"quantite":1000,"nom_produit":"\n"`, "nom_produit must be 1 to 500 bytes"},
			{`"id":"demo-1597",`, ``, "id is missing"},
		},
	},
	{
		"commandes.erreurs", parser(ParseErrorRecord),
		[]example{
			{
				ErrorRecord{Order: "991", Severity: SeverityReject, Problems: []Problem{{CodeInvalidAmount, "montant", "must be greater than 0"}},
					Value: []byte(`{"commandeId":991, "montant":-5}`), Strict: true, Origin: Origin{"commandes.ecommerce", 2, 17}, At: at},
				`{"commandeId":991,"gravite":"rejet","erreurs":[{"code":"MONTANT_INVALIDE","champ":"montant","detail":"must be greater than 0"}],"commande":{"commandeId":991, "montant":-5},` +
					`"origine":{"topic":"commandes.ecommerce","partition":2,"offset":17},"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				ErrorRecord{Severity: SeverityReject, Problems: []Problem{{CodeInvalidJSON, "", "x"}, {CodeInvalidType, "y", "z"}},
					Value: []byte("\xff\x00{"), Origin: Origin{"commandes.ecommerce", 0, 0}, At: at},
				`{"gravite":"rejet","erreurs":[{"code":"JSON_INVALIDE","champ":"","detail":"x"},{"code":"TYPE_INVALIDE","champ":"y","detail":"z"}],"commande_brute":"/wB7",` +
					`"origine":{"topic":"commandes.ecommerce","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				ErrorRecord{Severity: SeverityReject, Value: []byte{}, Origin: Origin{"t", 0, 0}, At: at},
				`{"gravite":"rejet","erreurs":[],"commande_brute":"","origine":{"topic":"t","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				ErrorRecord{Severity: SeverityAlert, Origin: Origin{"t", 0, 0}, At: at},
				`{"gravite":"alerte","erreurs":[],"commande":null,"origine":{"topic":"t","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
			{
				ErrorRecord{Severity: SeverityReject, Size: 921600, Origin: Origin{"t", 0, 0}, At: at},
				`{"gravite":"rejet","erreurs":[],"taille":921600,"origine":{"topic":"t","partition":0,"offset":0},"timestamp":"2026-11-20T09:30:00.005Z"}`,
			},
		},
		[]bad{
			{`"detail":"must be greater than 0"`, `"detail":0`, "erreurs[0].detail must be a string"},
			{`"partition":2`, `"partition":2147483648`, "origine.partition is too large"},
			{`,"offset":17`, ``, "origine.offset is missing"},
			{`"origine":{"topic":"commandes.ecommerce","partition":2,"offset":17}`, `"origine":null`, "origine is missing"},
			{`"origine":{"topic":"commandes.ecommerce","partition":2,"offset":17}`, `"origine":5`, "origine must be an object"},
			{`"commande":{"commandeId":991, "montant":-5}`, `"commande_brute":"%"`, "commande_brute must be base64"},
			{`"commande":{"commandeId":991, "montant":-5}`, `"taille":null,"commande_brute":null`, ""},
			{`"commande":{"commandeId":991, "montant":-5}`, `"taille":-1`, "taille must not be negative"},
		},
	},
}

type example struct {
	event interface{ AppendJSON([]byte) []byte }
	json  string
}

// bad replaces a part of the first example and says what the error must have;
// empty for no error.
type bad struct{ old, new, want string }

func parser[T interface{ AppendJSON([]byte) []byte }](parse func([]byte) (T, error)) func([]byte) (interface{ AppendJSON([]byte) []byte }, error) {
	return func(b []byte) (interface{ AppendJSON([]byte) []byte }, error) { return parse(b) }
}

func TestCodecs(t *testing.T) {
	for _, c := range codecs {
		for _, e := range c.examples {
			if got := string(e.event.AppendJSON([]byte("before"))); got != "before"+e.json {
				t.Errorf("%s: written\n%s\nwant\n%s", c.topic, got, e.json)
			}
			if !json.Valid([]byte(e.json)) {
				t.Errorf("%s: the example is no JSON", c.topic)
			}
			got, err := c.parse([]byte(e.json))
			if err != nil || !reflect.DeepEqual(got, e.event) {
				t.Errorf("%s: read %+v, %v\nwant %+v", c.topic, got, err, e.event)
			}
			// Blanks, unknown fields and nulls change nothing.
			spaced := strings.Replace(e.json, "{", " {\n\"extra\" : [{\"extra\":1}] , \"none\":null,", 1) + "\n"
			if got, err = c.parse([]byte(spaced)); err != nil || !reflect.DeepEqual(got, e.event) {
				t.Errorf("%s: read %+v, %v\nwant %+v", c.topic, got, err, e.event)
			}
		}
	}
}

func TestCodecErrors(t *testing.T) {
	for _, c := range codecs {
		good := c.examples[0].json
		cases := append([]bad{
			{good, ``, "not strict JSON"},
			{good, `null`, "must be an object"},
			{good, `[]`, "must be an object"},
			{good, `{}`, "is missing"},
			{good, good + "x", "not strict JSON"},
			{good, good[:len(good)-1], "not strict JSON"},
			{good, `{"extra":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + good[len(good)-1:], "not strict JSON"},
			{good, good + strings.Repeat(" ", MaxEventBytes), "is larger than 1 MiB"},
		}, c.bad...)
		for _, b := range cases {
			value := strings.Replace(good, b.old, b.new, 1)
			_, err := c.parse([]byte(value))
			switch {
			case b.want == "" && err != nil, b.want != "" && err == nil:
				t.Errorf("%s: %s: error %v, want %q", c.topic, shorten(b.new), err, b.want)
			case err != nil && (!strings.Contains(err.Error(), b.want) || !strings.HasPrefix(err.Error(), "value of "+c.topic+": ")):
				t.Errorf("%s: %s: error %v, want %q", c.topic, shorten(b.new), err, b.want)
			}
			if b.old != good && b.old != b.new && value == good {
				t.Errorf("%s: %s does not stand in the example", c.topic, b.old)
			}
		}
	}
}

// FuzzCodecs: no decoder panics, and what one accepts, written and read again,
// stays the same.
func FuzzCodecs(f *testing.F) {
	for i, c := range codecs {
		for _, e := range c.examples {
			f.Add(byte(i), []byte(e.json))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c := codecs[int(which)%len(codecs)]
		first, err := c.parse(b)
		if err != nil {
			return
		}
		written := first.AppendJSON(nil)
		if !json.Valid(written) {
			t.Fatalf("%s: wrote %s", c.topic, written)
		}
		if len(written) > MaxEventBytes {
			return
		}
		second, err := c.parse(written)
		if err != nil {
			t.Fatalf("%s: wrote %s, which it refuses: %v", c.topic, written, err)
		}
		if again := second.AppendJSON(nil); string(again) != string(written) {
			t.Fatalf("%s: wrote %s, then %s", c.topic, written, again)
		}
		if third, err := c.parse(written); err != nil || !reflect.DeepEqual(third, second) {
			t.Fatalf("%s: read %+v, then %+v, %v", c.topic, second, third, err)
		}
	})
}

package orders

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Outcome is how an order must end once everything is at rest.
type Outcome string

// The outcomes. A contended order competes for scarce stock: it ends invoiced or
// refused by stock, and which of them depends on who came first.
const (
	Invoiced       Outcome = "FACTUREE"
	PaymentRefused Outcome = "PAIEMENT_REFUSE"
	StockRefused   Outcome = "STOCK_REFUSE"
	Contended      Outcome = "FACTUREE|STOCK_REFUSE"
)

// Allows says whether an order of this expectation may end so.
func (o Outcome) Allows(end Outcome) bool {
	return o == end || o == Contended && (end == Invoiced || end == StockRefused)
}

// Config says how many orders to make. The same Config gives the same workload,
// byte for byte; another Seed gives other order ids on the same products.
type Config struct {
	Seed   uint64
	Orders int
}

// Product is a row of the catalogue that the orders rely on.
type Product struct {
	ID, Name string
	Price    int64 // minor units
	Stock    int64 // pieces supplied by the catalogue file
}

// Header is one record header.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record to produce, and what it is.
type Record struct {
	Kind       string // what makes it interesting, for messages
	Key, Value []byte // nil: absent
	Headers    []Header
	Codes      []string // sorted; why it is incoherent, empty if it is not
	Conflict   bool     // the id may be another order's by then: rejected as in conflict if so
}

// Workload is a mixed set of orders and what must become of them.
type Workload struct {
	Products []Product
	// Supplies go to stock.approvisionnements; those that are malformed or
	// repeated must be ignored.
	Supplies []Record
	// Orders go to commandes.ecommerce in this order.
	Orders []Record
	// Expected has every order that must get a verdict, by id.
	Expected map[string]Outcome
}

// Only is the workload of which some orders alone were sent: those at the places
// in Orders that sent names. Their outcomes are the same.
func (w *Workload) Only(sent func(i int) bool) *Workload {
	only := &Workload{Products: w.Products, Supplies: w.Supplies, Expected: map[string]Outcome{}}
	for i, r := range w.Orders {
		if !sent(i) {
			continue
		}
		only.Orders = append(only.Orders, r)
		if id := Judge(r.Key, r.Value, time.Time{}).ID; len(r.Codes) == 0 {
			if want, ok := w.Expected[id]; ok {
				only.Expected[id] = want
			}
		}
	}
	return only
}

// Catalogue is the products as the file that --catalogue takes.
func (w *Workload) Catalogue() []byte {
	rows := make([]string, len(w.Products))
	for i, p := range w.Products {
		rows[i] = fmt.Sprintf(`{"id_produit":%s,"nom_produit":%s,"prix":%s,"quantite":%d}`, ID(p.ID), quote(p.Name), Decimal(p.Price), p.Stock)
	}
	return []byte("[" + strings.Join(rows, ",\n ") + "]\n")
}

// maker is one kind of order and how often it comes, in thousandths.
type maker struct {
	kind string
	rate int
	make func(*generator, string)
}

// Generate makes a workload. Up to the number of kinds each comes once; beyond
// that they come at their rates.
func Generate(cfg Config) *Workload {
	g := &generator{
		rng:     rand.New(rand.NewPCG(cfg.Seed, 0x636f6d70746f6972)),
		seed:    cfg.Seed,
		clients: max(20, cfg.Orders/20),
		w:       &Workload{Expected: map[string]Outcome{}},
	}
	g.products(cfg.Orders)
	g.supplies()
	makers := slices.Concat(coherent, incoherent())
	var total int
	for _, m := range makers {
		total += m.rate
	}
	chosen := slices.Clone(makers)
	for len(chosen) < cfg.Orders {
		at := g.rng.IntN(total)
		for _, m := range makers {
			if at -= m.rate; at < 0 {
				chosen = append(chosen, m)
				break
			}
		}
	}
	chosen = chosen[:cfg.Orders]
	g.rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	for i, m := range chosen {
		g.number = i + 1
		m.make(g, m.kind)
		g.release(false)
	}
	g.release(true)
	return g.w
}

type generator struct {
	rng     *rand.Rand
	seed    uint64
	number  int // of the order being made
	clients int
	w       *Workload
	later   []delayed

	plenty, scarce []Product
	dear, empty    Product
}

// delayed is a record that follows others, such as a redelivery.
type delayed struct {
	after int
	r     Record
}

func (g *generator) products(orders int) {
	for i := range 30 {
		g.plenty = append(g.plenty, Product{ID: productID(i), Name: fmt.Sprintf("Produit courant n° %d", i+1), Price: int64(100 + 137*i), Stock: 900_000})
	}
	for i := range 5 {
		g.scarce = append(g.scarce, Product{ID: productID(100 + i), Name: fmt.Sprintf("Série limitée %d", i+1), Price: int64(1990 + 500*i), Stock: int64(max(5, orders/200))})
	}
	g.dear = Product{ID: productID(200), Name: "Serveur de calcul", Price: 250_000, Stock: 900_000}
	g.empty = Product{ID: productID(300), Name: "Bientôt disponible", Price: 4_990, Stock: 1}
	g.w.Products = slices.Concat(g.plenty, g.scarce, []Product{g.dear, g.empty})
}

func productID(i int) string {
	if i%3 == 0 {
		return fmt.Sprintf("REF-%03d", i)
	}
	return strconv.Itoa(7000 + i)
}

func (g *generator) supplies() {
	add := func(kind, product, value string) {
		g.w.Supplies = append(g.w.Supplies, Record{Kind: kind, Key: []byte(product), Value: []byte(value)})
	}
	for i, p := range g.plenty {
		id := fmt.Sprintf("LIV-%d-%d", g.seed, i)
		good := fmt.Sprintf(`{"id":%s,"id_produit":%s,"quantite":%d}`, quote(id), ID(p.ID), 100+i)
		add("supply", p.ID, good)
		switch i % 6 {
		case 0:
			add("repeated supply", p.ID, good)
		case 1:
			add("repeated supply with another quantity", p.ID, fmt.Sprintf(`{"id":%s,"id_produit":%s,"quantite":77}`, quote(id), ID(p.ID)))
		case 2:
			add("supply of nothing", p.ID, fmt.Sprintf(`{"id":%s,"id_produit":%s,"quantite":0}`, quote(id+"-0"), ID(p.ID)))
		case 3:
			add("negative supply", p.ID, fmt.Sprintf(`{"id":%s,"id_produit":%s,"quantite":-5}`, quote(id+"-m"), ID(p.ID)))
		case 4:
			add("malformed supply", p.ID, `{"id":`)
		case 5:
			add("supply without id", p.ID, fmt.Sprintf(`{"id_produit":%s,"quantite":3}`, ID(p.ID)))
		}
	}
}

// id gives the number'th order its id: a number, a long one, or text.
func (g *generator) id() string {
	n := int64(g.seed%1_000_000)*10_000_000 + int64(g.number)
	switch g.number % 4 {
	case 0:
		return fmt.Sprintf("CMD-%d", n)
	case 1:
		return fmt.Sprintf("commande n° %d à vérifier", n)
	case 2:
		return fmt.Sprintf("9%018d", n) // more digits than are written as a number
	}
	return strconv.FormatInt(n, 10)
}

var names = []string{"LUCAS", "Zoé Lefèvre", "Jean d’Arc", "Ömer \"Öz\" Çelik", "王小明", "A", "Société <Dupont> & fils"}

// draft is an order being written: its members in order.
type draft struct {
	id, key string
	client  string
	members []string
	amount  int64
}

func (d *draft) with(name, literal string) *draft {
	d.members = append(d.members, quote(name)+":"+literal)
	return d
}

func (d *draft) value() []byte { return []byte("{" + strings.Join(d.members, ",") + "}") }

// start begins an order of a client of the pool, with everything but amount
// and products.
func (g *generator) start() *draft {
	n := g.rng.IntN(g.clients)
	d := &draft{id: g.id(), key: fmt.Sprintf("CLI-%d", n), client: names[n%len(names)]}
	d.with("commandeId", ID(d.id)).with("client", quote(d.client))
	if g.rng.IntN(3) == 0 {
		d.with("email", quote(fmt.Sprintf("client%d@exemple.fr", n)))
	}
	switch g.rng.IntN(12) {
	case 0:
		d.with("devise", `"EUR"`)
	case 1:
		d.with("devise", `"USD"`)
	case 2:
		d.with("timestamp", quote(time.Unix(1_760_000_000+int64(g.rng.IntN(1e6)), 0).In(time.FixedZone("", 7200)).Format(time.RFC3339)))
	case 3:
		d.with("clientId", quote(d.key))
	case 4:
		d.with("canal_vente", `{"boutique":[1,2.50,null,"é"]}`)
	}
	return d
}

// total writes the amount, now and then in another spelling of the same value.
func (g *generator) total(d *draft, minor int64) *draft {
	d.amount = minor
	return d.with("montant", g.spell(minor))
}

func (g *generator) spell(minor int64) string {
	switch g.rng.IntN(6) {
	case 0:
		return fmt.Sprintf("%d.%02d", minor/100, minor%100)
	case 1:
		return fmt.Sprintf("%d.%02d0", minor/100, minor%100)
	case 2:
		return fmt.Sprintf("%de-2", minor)
	case 3:
		return fmt.Sprintf("%d.%03dE+1", minor/1000, minor%1000)
	}
	return Decimal(minor)
}

// single makes the single-line form.
func (g *generator) single(product string, price, quantity int64) *draft {
	d := g.total(g.start(), price*quantity).with("produit", product)
	if quantity != 1 || g.rng.IntN(4) == 0 {
		d.with("quantite", strconv.FormatInt(quantity, 10))
	}
	return d
}

// several makes an order of lines.
func (g *generator) several(lines ...Line) *draft {
	d := g.start()
	texts, sum := make([]string, len(lines)), int64(0)
	for i, l := range lines {
		sum += l.Quantity * l.Price
		texts[i] = fmt.Sprintf(`{"id_produit":%s,"quantite":%d,"prix":%s}`, ID(l.Product), l.Quantity, g.spell(l.Price))
	}
	return g.total(d, sum).with("lignes", "["+strings.Join(texts, ",")+"]")
}

func (g *generator) one(of []Product) Product { return of[g.rng.IntN(len(of))] }

func (g *generator) line(p Product) Line {
	return Line{Product: p.ID, Quantity: int64(1 + g.rng.IntN(4)), Price: p.Price}
}

// send adds the draft's record.
func (g *generator) send(kind string, d *draft, codes ...string) Record {
	r := Record{Kind: kind, Key: []byte(d.key), Value: d.value(), Codes: codes}
	if g.rng.IntN(5) == 0 {
		r.Headers = append(r.Headers, Header{"traceparent", fmt.Appendf(nil, "00-%016x%016x-%016x-01", g.seed+1, g.number, g.number)})
	}
	if g.rng.IntN(10) == 0 {
		r.Headers = append(r.Headers, Header{"origine-boutique", []byte("essai")})
	}
	g.w.Orders = append(g.w.Orders, r)
	return r
}

func (g *generator) expect(d *draft, o Outcome) { g.w.Expected[d.id] = o }

// follow adds a record some orders later.
func (g *generator) follow(r Record) {
	g.later = append(g.later, delayed{len(g.w.Orders) + g.rng.IntN(100), r})
}

func (g *generator) release(all bool) {
	g.later = slices.DeleteFunc(g.later, func(d delayed) bool {
		if all || d.after <= len(g.w.Orders) {
			g.w.Orders = append(g.w.Orders, d.r)
			return true
		}
		return false
	})
}

// ID writes an id as JSON: a number if it has at most 15 digits, else a string.
func ID(id string) string {
	if integer.MatchString(id) && len(id) <= 15 {
		return id
	}
	return quote(id)
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(text)
}

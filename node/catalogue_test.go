package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/kclient"
)

func TestParseCatalogue(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		products   int
		err        string // empty: accepted
	}{
		{"json", `[{"id_produit":1,"nom_produit":"a","prix":2.5,"quantite":3},{"id_produit":"b","nom_produit":"b","prix":null}]`, 2, ""},
		{"csv", "\xef\xbb\xbfid_produit,nom_produit,prix,quantite\n1,a,2.5,3\n", 1, ""},
		{"csv with semicolons", "id_produit;nom_produit;quantite\n1;a;3\n2;b;0\n", 2, ""},
		{"empty", " \n", 0, "is empty"},
		{"no product", "[]", 0, "holds no product"},
		{"only a header", "id_produit,nom_produit\n", 0, "holds no product"},
		{"one object", `{"id_produit":1}`, 0, "a JSON array is needed: ["},
		{"JSON lines", "{\"id_produit\":1}\n{\"id_produit\":2}\n", 0, "a JSON array is needed: ["},
		{"array of text", `["a"]`, 0, "product 1 is no JSON object"},
		{"null", `[null]`, 0, "product 1 is no JSON object"},
		{"latin 1", "id_produit,nom_produit\n1,caf\xe9\n", 0, "is not UTF-8"},
		{"binary", "\x7fELF\x00\x01", 0, "binary"},
		{"text", "hello\n", 0, `unknown field "hello"`},
		{"negative", `[{"id_produit":1,"nom_produit":"a","quantite":-3}]`, 0, "quantite must be 0 to 1000000000000 (is -3)"},
		{"more than there is", `[{"id_produit":1,"nom_produit":"a","quantite":9223372036854775807}]`, 0, "quantite must be 0 to 1000000000000 (is 9223372036854775807)"},
		{"part", `[{"id_produit":1,"nom_produit":"a","quantite":1.5}]`, 0, `"1.5" is not a whole number`},
		{"comma", "id_produit;nom_produit;prix\n1;a;2,5\n", 0, "write 2.5"},
		{"negative price", `[{"id_produit":1,"nom_produit":"a","prix":-1}]`, 0, "0 or more"},
		{"twice", `[{"id_produit":1,"nom_produit":"a"},{"id_produit":"1","nom_produit":"b"}]`, 0, "product 2: id_produit 1 stands twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			items, err := parseCatalogue([]byte(tc.data))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
				if strings.Contains(err.Error(), "Go value") {
					t.Errorf("the error names Go types: %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if len(items) != tc.products {
				t.Errorf("%d products, want %d", len(items), tc.products)
			}
		})
	}
}

func FuzzParseCatalogue(f *testing.F) {
	f.Add([]byte(`[{"id_produit":1,"nom_produit":"a","prix":2.5,"quantite":3}]`))
	f.Add([]byte("id_produit;nom_produit;prix\n1;a;2,5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := parseCatalogue(b)
		if err == nil && len(items) == 0 {
			t.Fatal("accepted without a product")
		}
		for _, it := range items {
			if !it.product.ID.Valid() || it.quantity < 0 || it.product.Price < 0 {
				t.Fatalf("accepted %+v", it)
			}
		}
	})
}

// TestNothingIsWrittenBeforeWhatCanBeWrong: a bad catalogue, and addresses in
// use, leave the data folder as it was.
func TestNothingIsWrittenBeforeWhatCanBeWrong(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.csv")
	if err := os.WriteFile(bad, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := listenTest(t)
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
		writes bool
	}{
		{"catalogue", func(c *Config) { c.Catalogue = bad }, "start catalogue: ", false},
		{"http", func(c *Config) { c.HTTP = taken }, "start listeners: address " + taken + " is in use: stop the program that has it or choose another with --http", false},
		{"connect", func(c *Config) { c.Connect = taken }, "start listeners: address " + taken + " is in use: stop the program that has it or choose another with --connect", false},
		{"kafka", func(c *Config) { c.Kafka = taken }, "start broker: address " + taken + " is in use: stop the program that has it or choose another with --kafka", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := freePorts(t)
			tc.change(&cfg)
			n, err := NewEmbedded(cfg, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Start(t.Context()); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if _, err := os.Stat(cfg.DataDir); (err == nil) != tc.writes {
				t.Errorf("data folder: %v", err)
			}
		})
	}
}

func TestSampleOf(t *testing.T) {
	product := func(id event.ID, price event.Amount, quantity int64) item {
		return item{event.Product{ID: id, Name: "n", Price: price, HasPrice: price >= 0}, quantity}
	}
	sold, unpriced, dear, free, good := product("sold", 1, 0), product("unpriced", -1, 5), product("dear", samplePrice+1, 5), product("free", 0, 5), product("good", samplePrice, 1)
	for _, tc := range []struct {
		items []item
		want  event.ID
	}{
		{nil, ""}, {[]item{sold}, "sold"}, {[]item{sold, unpriced, dear}, "unpriced"}, {[]item{dear, unpriced}, "dear"}, {[]item{sold, free}, "free"},
		{[]item{sold, unpriced, good, product("later", 1, 9)}, "good"},
	} {
		if got := sampleOf(tc.items).product.ID; got != tc.want {
			t.Errorf("%v: %q, want %q", tc.items, got, tc.want)
		}
	}
	if got := sampleOf(demoCatalogue()).product.Name; got != "PC Gamer" {
		t.Errorf("of the demo catalogue: %s", got)
	}
}

// TestCatalogueWaitsForItsTopics: topics that were just created are not known to
// every broker for a while.
func TestCatalogueWaitsForItsTopics(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, event.TopicProducts, event.TopicSupplies))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: event.TopicProducts, Err: kerr.UnknownTopicOrPartition, Count: 8})
	if err := loadCatalogue(t.Context(), kclient.Config{Brokers: c.ListenAddrs()}, demoCatalogue()); err != nil {
		t.Fatal(err)
	}
	if fault.Hits() < 8 {
		t.Errorf("%d of 8 faults struck", fault.Hits())
	}
}

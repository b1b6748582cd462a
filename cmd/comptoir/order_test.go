package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/node"
)

func TestOrderPlace(t *testing.T) {
	f, s := startAPI(t)
	if out := s.ok("", "order", "place", "--id", "991", "--client", "LUCAS", "--amount", "120.50", "--product", "PC Gamer"); out != "ORDER  STATE\n991    RECUE\n" {
		t.Errorf("place:\n%s", out)
	}
	if want := `{"commandeId":991,"client":"LUCAS","montant":120.50,"produit":"PC Gamer"}`; f.bodies[0] != want {
		t.Errorf("sent %s, want %s", f.bodies[0], want)
	}
	r := s.run("", "order", "place", "--id", "991", "--client", "LUCAS", "--amount", "120.50", "--product", "PC Gamer")
	if r.code != exitOK || !strings.Contains(r.err, "order 991 was placed before") {
		t.Errorf("again: %+v", r)
	}
	s.fails(exitFailure, []string{"COMMANDE_EN_CONFLIT", "order 991 exists with other content"}, "",
		"order", "place", "--id", "991", "--client", "LUCAS", "--amount", "1", "--product", "PC Gamer")

	out := s.ok("", "order", "place", "--id", "0991", "--client", `L"É`, "--client-id", "CLI-1", "--email", "l@example.org", "--currency", "CHF",
		"--line", "1101:1:349", "--line", "a:b:2:39.9", "--timestamp", "2026-11-20T09:30:00Z", "-o", "json")
	if out != `{"commandeId":"0991","statut":"RECUE"}`+"\n" {
		t.Errorf("-o json: %s", out)
	}
	want := `{"commandeId":"0991","client":"L\"É","clientId":"CLI-1","email":"l@example.org","montant":428.8,"devise":"CHF",` +
		`"lignes":[{"id_produit":1101,"quantite":1,"prix":349},{"id_produit":"a:b","quantite":2,"prix":39.9}],"timestamp":"2026-11-20T09:30:00Z"}`
	if got := f.bodies[len(f.bodies)-1]; got != want {
		t.Errorf("sent\n%s, want\n%s", got, want)
	}
	s.ok("", "order", "place", "--client", "LUCAS", "--amount", "59.98", "--product", "1597", "--quantity", "2")
	if got := f.bodies[len(f.bodies)-1]; got != `{"client":"LUCAS","montant":59.98,"produit":1597,"quantite":2}` {
		t.Errorf("sent %s", got)
	}

	// A file goes as it is.
	text := "{\n  \"commandeId\": \"f\", \"client\":\"x\",\"montant\":1,\"produit\":1,\"inconnu\":1.50}\n"
	s.ok(text, "order", "place", "-f", "-")
	file := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("", "order", "place", "-f", file)
	for _, got := range f.bodies[len(f.bodies)-2:] {
		if got != text {
			t.Errorf("sent %q", got)
		}
	}
}

func TestOrderRefused(t *testing.T) {
	_, s := startAPI(t)
	s.fails(exitFailure, []string{"comptoir: the order is incoherent (COMMANDE_INCOHERENTE)\n", "\n  montant: ", "(MONTANT_INVALIDE)\n", "\n  devise: ", "(DEVISE_INCONNUE)\n"}, "",
		"order", "place", "--id", "1", "--client", "LUCAS", "--amount", "-5", "--currency", "eur", "--product", "x")
	s.fails(exitFailure, []string{"\n  the whole: ", "(JSON_INVALIDE)"}, "{", "order", "place", "-f", "-")
	for _, tc := range []struct {
		word string
		args []string
	}{
		{"-f FILE", nil},
		{"not both", []string{"-f", "x", "--id", "1"}},
		{"not both", []string{"--line", "1:1:1", "--product", "x"}},
		{"decimal", []string{"--amount", "12,5"}},
		{"decimal", []string{"--amount", `1,"x":2`}},
		{"ID:QUANTITY:PRICE", []string{"--line", "1:1"}},
		{"whole number", []string{"--line", "1:x:1"}},
		{"decimal", []string{"--line", "1:1:x"}},
		{"FINI", []string{"--client", "x", "--wait", "FINI"}},
		{"--timeout", []string{"--client", "x", "--wait", "payee", "--timeout", "0s"}},
		{"no URL", []string{"--client", "x", "--api", "ftp://x"}},
	} {
		s.fails(exitUsage, []string{tc.word}, "", append([]string{"order", "place"}, tc.args...)...)
	}
	s.fails(exitNotFound, []string{"absent.json"}, "", "order", "place", "-f", "absent.json")
}

// place is the command line of an order with an id.
func place(id string, more ...string) []string {
	return append([]string{"order", "place", "--id", id, "--client", "LUCAS", "--amount", "120.5", "--product", "PC Gamer"}, more...)
}

// An order whose answer was lost is placed once, and says that it is new.
func TestOrderPlacedOnce(t *testing.T) {
	f, s := startAPI(t)
	f.faults = append(f.faults, unavailable, lost, unavailable)
	r := s.run("", place("991")...)
	if r.code != exitOK || r.out != "ORDER  STATE\n991    RECUE\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	if len(f.calls) != 4 || f.posts != 1 || len(f.keys) != 1 {
		t.Errorf("%d calls, %d effects, %d keys", len(f.calls), f.posts, len(f.keys))
	}
	// The key that was used is named when the outcome is not known, and repeats
	// the answer.
	f.faults = append(f.faults, lost, func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		answerProblem(w, 503, "INDISPONIBLE", "gone for lunch", "")
		return true
	})
	r = s.run("", place("992")...)
	_, key, found := strings.Cut(strings.TrimSpace(r.err), "--key ")
	if r.code != exitFailure || !found || !strings.Contains(r.err, "gone for lunch (INDISPONIBLE)") {
		t.Fatalf("%+v", r)
	}
	key = strings.Fields(key)[0]
	if r = s.run("", place("992", "--key", key)...); r.code != exitOK || r.err != "" || f.posts != 2 {
		t.Errorf("with the key: %+v, %d effects", r, f.posts)
	}
	// What is refused for good is not repeated, and needs no key.
	calls := len(f.calls)
	if r = s.run("", place("992", "--quantity", "0")...); r.code != exitFailure || strings.Contains(r.err, "--key") || len(f.calls) != calls+1 {
		t.Errorf("%+v after %d calls", r, len(f.calls)-calls)
	}
}

func TestOrderWait(t *testing.T) {
	f, s := startAPI(t)
	ends := "NOTIFIEE"
	f.comes = func(o *fakeOrder) {
		if o.asked == 3 {
			if o.State = ends; ends == "STOCK_REFUSE" {
				o.Reason = "PRODUIT_INCONNU"
			}
		}
	}
	if out := s.ok("", place("991", "--wait", "facturee")...); out != "ORDER  STATE     INVOICE OR REASON\n991    NOTIFIEE  FA-2026-000001\n" {
		t.Errorf("wait:\n%s", out)
	}
	if call := f.last(); call != "GET /commandes/991?attendre=FACTUREE&delai=30s" && !strings.HasPrefix(call, "GET /commandes/991?attendre=FACTUREE&delai=29.") {
		t.Errorf("asked %s", call)
	}
	ends = "STOCK_REFUSE"
	r := s.run("", place("992", "--wait", "PAYEE")...)
	if r.code != exitFailure || !strings.Contains(r.err, "order 992 ended as STOCK_REFUSE PRODUIT_INCONNU") || !strings.Contains(r.out, "PRODUIT_INCONNU") {
		t.Errorf("refused: %+v", r)
	}
	ends = "RECUE"
	r = s.run("", place("993", "--wait", "PAYEE", "--timeout", "20ms")...)
	if r.code != exitPartial || !strings.Contains(r.err, "order 993 is still RECUE after 20ms") || !strings.HasPrefix(r.out, "ORDER  STATE\n993    RECUE\n") {
		t.Errorf("too late: %+v", r)
	}
	// Placed, but not to be asked: no failure of the placing.
	f.faults = append(f.faults, func(*fakeAPI, http.ResponseWriter, *http.Request) bool { return false },
		func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
			answerProblem(w, 500, "ERREUR_INTERNE", "oops", "")
			return true
		})
	s.fails(exitPartial, []string{"order 994 is placed", "oops"}, "", place("994", "--wait", "PAYEE")...)
}

func TestOrderGet(t *testing.T) {
	f, s := startAPI(t)
	s.ok("", place("991")...)
	f.orders[0].State = "NOTIFIEE"
	want := `order      991
state      NOTIFIEE
client     LUCAS
client id  LUCAS
amount     120.50 EUR
invoice    FA-2026-000001
ordered    2026-11-20T09:30:00.000Z
changed    2026-11-20T09:30:00.042Z

PRODUCT  NAME      QUANTITY  PRICE  AMOUNT  REASON
1001     PC Gamer  1         -      120.5   -
`
	if out := s.ok("", "order", "get", "991"); out != want {
		t.Errorf("get:\n%s", out)
	}
	if out := s.ok("", "order", "get", "991", "-o", "json"); out != f.orders[0].json()+"}\n" {
		t.Errorf("get -o json: %s", out)
	}
	if out := s.ok("", "order", "get", "991", "-o", "yaml"); !strings.HasPrefix(out, "commandeId: 991\nstatut: NOTIFIEE\n") || !strings.Contains(out, "montant: 120.50\n") {
		t.Errorf("get -o yaml: %s", out)
	}
	s.fails(exitNotFound, []string{"no order a/b is known"}, "", "order", "get", "a/b")
	if call := f.last(); call != "GET /commandes/a%2Fb" {
		t.Errorf("asked %s", call)
	}
	s.fails(exitUsage, []string{"ID"}, "", "order", "get")
	f.faults = append(f.faults, unavailable)
	s.ok("", "order", "get", "991")
	f.faults = append(f.faults, func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("<html>"))
		return true
	})
	s.fails(exitFailure, []string{"does not answer as the order API does"}, "", "order", "get", "991")
	if out := s.ok("", "__complete", "order", "follow", ""); !strings.Contains(out, "991\n") {
		t.Errorf("completion: %s", out)
	}
}

func TestOrderList(t *testing.T) {
	f, s := startAPI(t)
	r := s.run("", "order", "list", "-o", "json")
	if r.code != exitOK || r.out != "[]\n" || r.err != "" {
		t.Errorf("empty: %+v", r)
	}
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		s.ok("", place(id, "--client-id", "CLI-"+string("ab"[len(f.orders)%2]))...)
	}
	f.orders[6].State, f.orders[6].Reason = "STOCK_REFUSE", "PRODUIT_INCONNU"
	want := `ORDER  STATE         CLIENT  AMOUNT      INVOICE OR REASON  ORDERED
8      RECUE         LUCAS   120.50 EUR  -                  2026-11-20T09:30:00.000Z
7      STOCK_REFUSE  LUCAS   120.50 EUR  PRODUIT_INCONNU    2026-11-20T09:30:00.000Z
`
	r = s.run("", "order", "list", "--limit", "2")
	if r.out != want || r.err != "There are more: --after c6 goes on, --all lists all.\n" {
		t.Errorf("list: %s%s", r.out, r.err)
	}
	ids := func(args ...string) string {
		t.Helper()
		var list []struct{ CommandeID json.Number }
		s.json(&list, append([]string{"order", "list"}, args...)...)
		text := ""
		for _, o := range list {
			text += o.CommandeID.String()
		}
		return text
	}
	for want, args := range map[string][]string{
		"87654321": {"--all"}, "87654": {"--limit", "5"}, "65": {"--after", "c6", "--limit", "2"}, "531": {"--client", "CLI-a", "--after", "c6"},
		"7": {"--state", "stock_refuse"}, "": {"--state", "PAYEE", "--all"}, "8765432": {"--limit", "7"},
	} {
		if got := ids(args...); got != want {
			t.Errorf("%v lists %s, want %s", args, got, want)
		}
	}
	s.fails(exitUsage, []string{"NEUE", "RECUE"}, "", "order", "list", "--state", "NEUE")
	s.fails(exitUsage, []string{"--limit"}, "", "order", "list", "--limit", "0")
	if out := s.ok("", "__complete", "order", "list", "--state", ""); !strings.Contains(out, "EN_CONFLIT\n") {
		t.Errorf("completion: %s", out)
	}
}

// The API is found by flag, environment, and the data directory.
func TestFindTheAPI(t *testing.T) {
	f, s := startAPI(t)
	s.ok("", place("991")...)
	url := f.url
	s.environ = nil
	dir := t.TempDir()
	if err := node.WriteEndpoints(dir, node.Endpoints{HTTP: url}); err != nil {
		t.Fatal(err)
	}
	s.ok("", "order", "get", "991", "--data-dir", dir)
	s.ok("", "order", "get", "991", "--api", strings.TrimPrefix(url, "http://")+"/")
	s.fails(exitFailure, []string{"comptoir up --data-dir", "--api"}, "", "order", "get", "991", "--data-dir", t.TempDir())

	s.fails(exitFailure, []string{"no order API at http://127.0.0.1:1: start one with `comptoir up`", "--api"}, "", "order", "get", "991", "--api", "127.0.0.1:1")
	r := s.run("", place("991", "--api", "127.0.0.1:1")...)
	if r.code != exitFailure || strings.Contains(r.err, "--key") {
		t.Errorf("nothing listens: %+v", r)
	}
}

// An interrupt ends the repetitions, and names the key.
func TestOrderInterrupted(t *testing.T) {
	f, s := startAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.faults = append(f.faults, func(_ *fakeAPI, w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "5")
		answerProblem(w, 503, "INDISPONIBLE", "later", "")
		cancel()
		return true
	})
	r := s.runContext(ctx, "", place("991")...)
	if r.code != exitFailure || !strings.Contains(r.err, "--key ") || len(f.calls) != 1 {
		t.Errorf("%+v after %d calls", r, len(f.calls))
	}
}

// What is no id is refused before anything is asked: a path of it would be that
// of something else.
func TestIDsAreChecked(t *testing.T) {
	f, s := startAPI(t)
	for _, id := range []string{"", ".", "..", "a\tb", strings.Repeat("x", 201), "\xff"} {
		for _, args := range [][]string{
			{"order", "get", id}, {"order", "follow", id}, {"product", "get", id}, {"product", "put", id, "--name", "x"},
			{"stock", "add", id, "1"}, {"stock", "list", "1", id},
		} {
			s.fails(exitUsage, []string{"id"}, "", args...)
		}
	}
	s.fails(exitUsage, []string{"client's id"}, "", "order", "list", "--client", "..")
	for _, key := range []string{strings.Repeat("k", 256), "a\nb", "\xff", " a"} {
		s.fails(exitUsage, []string{"--key"}, "", "order", "place", "--client", "LUCAS", "--amount", "1", "--product", "x", "--key", key)
	}
	if len(f.calls) > 0 {
		t.Errorf("asked for %q", f.calls)
	}
}

func TestTryNext(t *testing.T) {
	for _, tc := range []struct {
		sample      event.Product
		place, echo string
	}{
		{event.Product{}, `--amount 120.5 --product "PC Gamer" --id 990`, `echo 'CLI-991:{"commandeId":991,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}' |`},
		{event.Product{ID: "2001", Name: "Théière en fonte", Price: 3990, HasPrice: true}, `--amount 39.9 --product "Théière en fonte" --id 990`, `echo 'CLI-991:{"commandeId":991,"client":"LUCAS","montant":39.9,"produit":"Théière en fonte"}' |`},
		{event.Product{ID: "2002", Name: `L'"été"`}, `--amount 10 --product 'L'\''"été"' --id 990`, `echo 'CLI-991:{"commandeId":991,"client":"LUCAS","montant":10,"produit":"L'\''\"été\""}' |`},
		{event.Product{ID: "2003", Name: strings.Repeat("x", 201)}, `--product "2003"`, `"produit":"2003"`},
	} {
		text := tryNext(node.Default(), node.Endpoints{}, "comptoir", func() (event.Product, bool) { return tc.sample, tc.sample.ID != "" })
		if !strings.Contains(text, tc.place) || !strings.Contains(text, tc.echo) {
			t.Errorf("%+v:\n%s", tc.sample, text)
		}
	}
}

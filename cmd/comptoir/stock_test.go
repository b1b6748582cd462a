package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestProductsAndStock(t *testing.T) {
	f, s := startAPI(t)
	if out := s.ok("", "product", "list", "-o", "json"); out != "[]\n" {
		t.Errorf("empty list: %s", out)
	}
	s.ok("", "product", "put", "2001", "--name", "Théière en fonte", "--price", "39.90")
	if got := f.bodies[0]; got != `{"nom_produit":"Théière en fonte","prix":39.90}` || f.last() != "PUT /produits/2001" {
		t.Errorf("%s sent %s", f.last(), got)
	}
	s.ok("", "product", "put", "2002", "--name", "Tasse")
	if got := f.bodies[1]; got != `{"nom_produit":"Tasse"}` {
		t.Errorf("sent %s", got)
	}
	f.faults = append(f.faults, lost, unavailable)
	if out := s.ok("", "stock", "add", "2001", "25"); out != "APP-1\n" {
		t.Errorf("add: %s", out)
	}
	if out := s.ok("", "stock", "add", "2003", "4", "--name", "Sucrier", "-o", "json"); out != `{"id":"APP-2"}`+"\n" {
		t.Errorf("add -o json: %s", out)
	}
	if got := f.bodies[len(f.bodies)-1]; got != `{"nom_produit":"Sucrier","quantite":4}` || f.last() != "POST /stock/2003/approvisionnements" {
		t.Errorf("%s sent %s", f.last(), got)
	}
	s.ok("", "stock", "add", "2003", "4", "--name", "Sucrier", "--key", "k")
	s.ok("", "stock", "add", "2003", "4", "--name", "Sucrier", "--key", "k")
	if out := s.ok("", "product", "put", "2004", "--name", "Plateau", "-o", "json"); out != `{"stored":[2004]}`+"\n" {
		t.Errorf("put -o json: %s", out)
	}
	want := `PRODUCT  NAME              PRICE  AVAILABLE  RESERVED
2001     Théière en fonte  39.9   25         0
2002     Tasse             -      0          0
2003     2003              -      8          0
2004     Plateau           -      0          0
`
	if out := s.ok("", "product", "list"); out != want {
		t.Errorf("list:\n%s", out)
	}
	if out := s.ok("", "product", "get", "2002"); out != "PRODUCT  NAME   PRICE  AVAILABLE  RESERVED\n2002     Tasse  -      0          0\n" {
		t.Errorf("get:\n%s", out)
	}
	want = "PRODUCT  NAME              AVAILABLE  RESERVED\n2003     2003              8          0\n2001     Théière en fonte  25         0\n"
	if out := s.ok("", "stock", "list", "2003", "2001"); out != want {
		t.Errorf("stock list:\n%s", out)
	}
	var levels []map[string]any
	s.json(&levels, "stock", "list")
	if len(levels) != 4 || levels[0]["id_produit"] != 2001.0 || levels[0]["disponible"] != 25.0 || levels[0]["reserve"] != 0.0 {
		t.Errorf("stock list -o json: %v", levels)
	}
	s.fails(exitNotFound, []string{"no product 9 is known"}, "", "product", "get", "9")
	s.fails(exitNotFound, []string{"product 9: no product 9 is known"}, "", "stock", "list", "9")
	s.fails(exitPartial, []string{"product 9"}, "", "stock", "list", "9", "2001")
	s.fails(exitUsage, []string{"--name"}, "", "product", "put", "9")
	s.fails(exitUsage, []string{"--price"}, "", "product", "put", "9", "--name", "x", "--price", "cheap")
	s.fails(exitUsage, []string{`"0"`}, "", "stock", "add", "2001", "0")
	s.fails(exitUsage, []string{"to 1000000000000"}, "", "stock", "add", "2001", "1000000000001")
	s.fails(exitUsage, []string{"--key", "255"}, "", "stock", "add", "2001", "1", "--key", strings.Repeat("k", 256))
	s.fails(exitUsage, []string{"QUANTITY"}, "", "stock", "add", "2001")
	f.faults = append(f.faults, func(_ *fakeAPI, w http.ResponseWriter, _ *http.Request) bool {
		answerProblem(w, 500, "ERREUR_INTERNE", "oops", "")
		return true
	})
	s.fails(exitFailure, []string{"oops", "--key "}, "", "stock", "add", "2001", "1")
	if out := s.ok("", "__complete", "stock", "add", ""); !strings.Contains(out, "2003\n") {
		t.Errorf("completion: %s", out)
	}
	s.fails(exitFailure, []string{"no order API", "--api"}, "", "stock", "list", "1", "2", "--api", "127.0.0.1:1")
}

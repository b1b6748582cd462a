package comptoir_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/comptoir/comptoir"

// imports is the house's direction: which packages of this module a package may
// import. The longest matching row rules; a name ending in "/..." stands for the
// package and everything below it. Packages of other modules are free, except
// where onlyStandard or noHTTP says otherwise.
var imports = map[string][]string{
	"cmd/...":      {"cmd/...", "node/...", "broker/...", "commerce/...", "connect/...", "streams/...", "console/...", "storefront/...", "internal/..."},
	"node/...":     {"node/...", "broker/...", "commerce/...", "connect/...", "streams/...", "console/...", "storefront/...", "internal/..."},
	"internal/...": {"internal/..."},
	// internal/testbed runs a whole node inside a test.
	"internal/testbed": {"node/...", "broker/...", "commerce/...", "connect/...", "streams/...", "internal/..."},

	// internal/wire/wiretest checks what stages make of internal/wire.
	"internal/wire/wiretest": {"streams"},

	// internal/bench/floor is the library without a pipeline on it.
	"internal/bench/floor": {"streams", "streams/state", "internal/kclient"},

	// internal/demo is the demo's orders and its live view.
	"internal/demo": {"commerce/event", "internal/..."},

	"commerce":              {"commerce/...", "streams/...", "internal/..."},
	"commerce/event":        {"streams"}, // its typed topics
	"commerce/anomaly/...":  {"commerce/event", "internal/wire", "streams", "streams/state"},
	"commerce/stock/...":    {"commerce/event", "internal/wire", "streams", "streams/state"},
	"commerce/payment/...":  {"commerce/event", "commerce/payment/...", "internal/wire", "streams", "streams/state"},
	"commerce/invoice/...":  {"commerce/event", "internal/wire", "streams", "streams/state"},
	"commerce/notify/...":   {"commerce/event", "streams", "streams/state"},
	"commerce/shipping/...": {"commerce/event", "streams", "streams/state"},
	"commerce/orderdb/...":  {"commerce/event", "commerce/orderdb/...", "internal/..."},
	"commerce/api/...":      {"commerce/event", "commerce/orderdb/...", "internal/..."},
	"commerce/relay/...":    {"commerce/event", "commerce/orderdb/...", "internal/..."},
	"commerce/track/...":    {"commerce/event", "commerce/orderdb/...", "internal/..."},
	// The auditor shares no decision code with the stages.
	"commerce/audit/...": {"commerce/event", "commerce/orderdb/...", "internal/..."},

	// No tracing library: streams tells Config.Trace of its records.
	"streams/...":    {"streams/...", "internal/kclient", "internal/turns"},
	"broker/...":     {"broker/...", "internal/..."},
	"connect/...":    {"connect/...", "internal/..."},
	"console/...":    {"console/...", "internal/..."},
	"storefront/...": {"storefront/...", "internal/..."},

	// What checks from outside takes nothing from what it checks.
	"test/...": {"test/..."},
	// test/bench measures a whole node, the floor under it, and full databases.
	"test/bench": {"node", "broker", "commerce/event", "commerce/orderdb", "internal/bench/floor", "internal/kclient", "test/..."},
	// test/broker/child runs a broker; those beside it only talk to one.
	"test/broker/child": {"broker"},
	// These end transactions, for which franz-go alone is not safe.
	"test/broker/bench": {"internal/kclient", "test/..."},
	"test/broker/kill":  {"internal/kclient", "test/..."},
	"test/invariants":   {"internal/kclient", "test/..."},
	"":                  {},
}

// testImports are what tests may import beyond their package's own row: helpers
// made for tests, and the broker as a server to test against.
var testImports = []string{"broker", "internal/testbed", "internal/trace", "internal/trace/tracetest", "internal/wire/wiretest", "streams/streamstest", "test/broker/wire", "test/testenv"}

// onlyStandard packages import nothing from other modules.
var onlyStandard = []string{"commerce/event"}

// noHTTP packages must not speak HTTP; in a stage only payment/httpprovider does.
var noHTTP = []string{"commerce/anomaly", "commerce/stock", "commerce/payment", "commerce/invoice", "commerce/notify", "commerce/shipping", "streams", "streams/state"}

type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImportDirections(t *testing.T) {
	packages := list(t)
	if len(packages) == 0 {
		t.Fatal("go list found no package")
	}
	for _, p := range packages {
		for _, complaint := range complaints(p) {
			t.Error(complaint)
		}
	}
}

// TestImportDirectionsComplain shows that the rules catch what they are for.
func TestImportDirectionsComplain(t *testing.T) {
	for _, c := range []struct {
		name string
		p    listed
		want int
	}{
		{"stage imports stage", listed{ImportPath: module + "/commerce/stock", Imports: []string{module + "/commerce/payment"}}, 1},
		{"stage imports event and streams", listed{ImportPath: module + "/commerce/stock", Imports: []string{module + "/commerce/event", module + "/streams"}}, 0},
		{"streams imports commerce", listed{ImportPath: module + "/streams", Imports: []string{module + "/commerce/event"}}, 1},
		{"event imports another module", listed{ImportPath: module + "/commerce/event", Imports: []string{"github.com/google/uuid"}}, 1},
		{"event imports the standard library", listed{ImportPath: module + "/commerce/event", Imports: []string{"net/netip"}}, 0},
		{"payment speaks HTTP", listed{ImportPath: module + "/commerce/payment", Imports: []string{"net/http"}}, 1},
		{"its provider may", listed{ImportPath: module + "/commerce/payment/httpprovider", Imports: []string{"net/http"}}, 0},
		{"connect imports broker", listed{ImportPath: module + "/connect", Imports: []string{module + "/broker"}}, 1},
		{"connect's test may", listed{ImportPath: module + "/connect", TestImports: []string{module + "/broker"}}, 0},
		{"a test imports the node", listed{ImportPath: module + "/connect", XTestImports: []string{module + "/node"}}, 1},
		{"the checker imports the checked", listed{ImportPath: module + "/test/invariants", Imports: []string{module + "/commerce/event"}}, 1},
		{"a package without a row", listed{ImportPath: module + "/util"}, 1},
	} {
		if got := complaints(c.p); len(got) != c.want {
			t.Errorf("%s: %d complaints %q, want %d", c.name, len(got), got, c.want)
		}
	}
}

func complaints(p listed) (found []string) {
	name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
	row, ok := rowOf(name)
	if !ok {
		return []string{name + " has no row in the table of imports_test.go: say there what it may import"}
	}
	for _, i := range p.Imports {
		own := i == module || strings.HasPrefix(i, module+"/")
		switch target := strings.TrimPrefix(i, module+"/"); {
		case own && !allowed(target, imports[row]):
			found = append(found, name+" imports "+target+", which its row "+row+" does not allow")
		case !own && slices.Contains(onlyStandard, name) && strings.Contains(strings.SplitN(i, "/", 2)[0], "."):
			found = append(found, name+" imports "+i+" but may use the standard library alone")
		case i == "net/http" && slices.Contains(noHTTP, name):
			found = append(found, name+" imports net/http")
		}
	}
	for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
		target, own := strings.CutPrefix(i, module+"/")
		if own && target != name && !allowed(target, imports[row]) && !allowed(target, testImports) {
			found = append(found, "the tests of "+name+" import "+target+", which its row "+row+" does not allow")
		}
	}
	return found
}

// rowOf finds the longest row that covers the package.
func rowOf(name string) (best string, ok bool) {
	for row := range imports {
		if covers(row, name) && (!ok || len(row) > len(best)) {
			best, ok = row, true
		}
	}
	return best, ok
}

func allowed(name string, rows []string) bool {
	return slices.ContainsFunc(rows, func(row string) bool { return covers(row, name) })
}

func covers(row, name string) bool {
	tree, below := strings.CutSuffix(row, "/...")
	return name == tree || below && strings.HasPrefix(name, tree+"/")
}

func list(t *testing.T) (packages []listed) {
	t.Helper()
	// -e: a package that does not compile is the compiler's business.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("output of go list: %v", err)
		}
		packages = append(packages, p)
	}
}

package stock

import (
	"math"
	"testing"
)

func TestReserve(t *testing.T) {
	shop := level{Catalogued: true, Name: "PC", Available: 5, Reserved: 2}
	for _, c := range []struct {
		name string
		l    level
		n    int64
		want level
		kind answerKind
	}{
		{"some", shop, 3, level{true, false, "PC", 2, 5}, answerReserved},
		{"all", shop, 5, level{true, false, "PC", 0, 7}, answerReserved},
		{"one too many", shop, 6, shop, answerShort},
		{"nothing left", level{Supplied: true}, 1, level{Supplied: true}, answerShort},
		{"unknown", level{}, 1, level{}, answerUnknown},
		{"known by supply alone", level{Supplied: true, Available: 1}, 1, level{Supplied: true, Reserved: 1}, answerReserved},
	} {
		if l, kind := reserve(c.l, c.n); l != c.want || kind != c.kind {
			t.Errorf("%s: %+v %d, want %+v %d", c.name, l, kind, c.want, c.kind)
		}
	}
}

func TestReleaseAndExit(t *testing.T) {
	shop := level{Catalogued: true, Available: 5, Reserved: 3}
	for _, c := range []struct {
		name   string
		decide func(level, int64) (level, bool)
		n      int64
		want   level
		ok     bool
	}{
		{"release", release, 2, level{true, false, "", 7, 1}, true},
		{"release all", release, 3, level{true, false, "", 8, 0}, true},
		{"release more than there is", release, 4, shop, false},
		{"release nothing", release, 0, shop, false},
		{"exit", exit, 2, level{true, false, "", 5, 1}, true},
		{"exit of all", exit, 3, level{true, false, "", 5, 0}, true},
		{"exit of more than there is", exit, 4, shop, false},
		{"exit of nothing", exit, 0, shop, false},
	} {
		if l, ok := c.decide(shop, c.n); l != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v, want %+v %v", c.name, l, ok, c.want, c.ok)
		}
	}
}

func TestSupply(t *testing.T) {
	const most = math.MaxInt64
	for _, c := range []struct {
		name   string
		l      level
		n      int64
		called string
		want   level
		ok     bool
	}{
		{"unknown product", level{}, 3, "Lampe", level{Supplied: true, Name: "Lampe", Available: 3}, true},
		{"unknown product without name", level{}, 3, "", level{Supplied: true, Available: 3}, true},
		{"known product keeps its name", level{Catalogued: true, Name: "Lampe"}, 3, "Table", level{true, true, "Lampe", 3, 0}, true},
		{"nothing", level{Supplied: true}, 0, "", level{Supplied: true}, false},
		{"less than nothing", level{Supplied: true, Available: 5}, -1, "", level{Supplied: true, Available: 5}, false},
		{"up to the brim", level{Supplied: true, Available: 1, Reserved: 2}, most - 3, "", level{Supplied: true, Available: most - 2, Reserved: 2}, true},
		{"over the brim", level{Supplied: true, Available: 1, Reserved: 2}, most - 2, "", level{Supplied: true, Available: 1, Reserved: 2}, false},
	} {
		if l, ok := supply(c.l, c.n, c.called); l != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v, want %+v %v", c.name, l, ok, c.want, c.ok)
		}
	}
}

func TestCatalogue(t *testing.T) {
	for _, c := range []struct {
		name   string
		l      level
		listed bool
		called string
		want   level
	}{
		{"new", level{}, true, "Lampe", level{Catalogued: true, Name: "Lampe"}},
		{"renamed", level{Catalogued: true, Name: "Lampe", Available: 2}, true, "Table", level{Catalogued: true, Name: "Table", Available: 2}},
		{"names a supplied product", level{Supplied: true, Available: 2}, true, "Table", level{true, true, "Table", 2, 0}},
		{"unlisted but supplied", level{true, true, "Table", 2, 1}, false, "", level{false, true, "Table", 2, 1}},
		{"unlisted", level{Catalogued: true, Name: "Table"}, false, "", level{Name: "Table"}},
	} {
		if l := catalogue(c.l, c.listed, c.called); l != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, l, c.want)
		}
	}
}

func TestIdentify(t *testing.T) {
	first := identity{Digest: [16]byte{1}}
	for _, c := range []struct {
		name   string
		found  bool
		digest [16]byte
		want   requestOutcome
	}{
		{"first", false, [16]byte{1}, orderNew},
		{"the same content", true, [16]byte{1}, orderAgain},
		{"other content", true, [16]byte{2}, orderConflict},
	} {
		if got := identify(first, c.found, c.digest); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

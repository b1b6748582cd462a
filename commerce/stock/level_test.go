package stock

import (
	"math"
	"testing"
)

func TestReserve(t *testing.T) {
	shop := level{Catalogued: true, Name: "PC", Available: 5, Reserved: 2}
	for _, c := range []struct {
		name    string
		l       level
		r       reservation
		n       int64
		want    level
		wantRes reservation
		kind    answerKind
	}{
		{"some", shop, reservation{}, 3, level{true, false, "PC", 2, 5}, reservation{reserved, 3, 7}, answerReserved},
		{"all", shop, reservation{}, 5, level{true, false, "PC", 0, 7}, reservation{reserved, 5, 7}, answerReserved},
		{"one too many", shop, reservation{}, 6, shop, reservation{}, answerShort},
		{"nothing left", level{Supplied: true}, reservation{}, 1, level{Supplied: true}, reservation{}, answerShort},
		{"unknown", level{}, reservation{}, 1, level{}, reservation{}, answerUnknown},
		{"known by supply alone", level{Supplied: true, Available: 1}, reservation{}, 1, level{Supplied: true, Reserved: 1}, reservation{reserved, 1, 7}, answerReserved},
		{"asked again", shop, reservation{reserved, 2, 7}, 2, shop, reservation{reserved, 2, 7}, answerReserved},
		{"asked again after release", shop, reservation{released, 2, 7}, 2, shop, reservation{released, 2, 7}, answerShort},
		{"asked again after exit", shop, reservation{exited, 2, 7}, 2, shop, reservation{exited, 2, 7}, answerShort},
		{"an id forgotten before the order ended", shop, reservation{reserved, 2, 6}, 1, level{true, false, "PC", 4, 3}, reservation{reserved, 1, 7}, answerReserved},
		{"an id that identity has forgotten", shop, reservation{exited, 2, 6}, 1, level{true, false, "PC", 4, 3}, reservation{reserved, 1, 7}, answerReserved},
	} {
		l, r, kind := reserve(c.l, c.r, c.n, 7)
		if l != c.want || r != c.wantRes || kind != c.kind {
			t.Errorf("%s: %+v %+v %d, want %+v %+v %d", c.name, l, r, kind, c.want, c.wantRes, c.kind)
		}
	}
}

func TestReleaseAndExit(t *testing.T) {
	shop := level{Catalogued: true, Available: 5, Reserved: 3}
	had := func(s reservationState) reservation { return reservation{s, 2, 7} }
	for _, c := range []struct {
		name    string
		decide  func(level, reservation) (level, reservation, bool)
		r       reservation
		want    level
		wantRes reservation
		ok      bool
	}{
		{"release", release, had(reserved), level{true, false, "", 7, 1}, had(released), true},
		{"release again", release, had(released), shop, had(released), false},
		{"release what is gone", release, had(exited), shop, had(exited), false},
		{"release nothing", release, reservation{}, shop, reservation{}, false},
		{"exit", exit, had(reserved), level{true, false, "", 5, 1}, had(exited), true},
		{"exit again", exit, had(exited), shop, had(exited), false},
		{"exit what was released", exit, had(released), shop, had(released), false},
		{"exit nothing", exit, reservation{}, shop, reservation{}, false},
	} {
		l, r, ok := c.decide(shop, c.r)
		if l != c.want || r != c.wantRes || ok != c.ok {
			t.Errorf("%s: %+v %+v %v, want %+v %+v %v", c.name, l, r, ok, c.want, c.wantRes, c.ok)
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

package event

import "testing"

func TestKnownCurrency(t *testing.T) {
	for _, code := range []string{"EUR", "USD", "JPY", "CHF", "XAF", "AED", "ZWG", "KWD", "XOF", "XXX"} {
		if !KnownCurrency(code) {
			t.Errorf("%s is unknown", code)
		}
	}
	for _, code := range []string{"", "eur", "Eur", "EURO", "EU", "XYZ", "DEM", "FRF", "€", "AEDAFN", "URU"} {
		if KnownCurrency(code) {
			t.Errorf("%s is known", code)
		}
	}
	for code := range currencies {
		for _, c := range code {
			if len(code) != 3 || c < 'A' || c > 'Z' {
				t.Errorf("the table has %q", code)
			}
		}
	}
	if n := len(currencies); n < 170 || n > 185 {
		t.Errorf("the table has %d codes", n)
	}
}

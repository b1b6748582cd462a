package event

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestParseAmount(t *testing.T) {
	zeros := strings.Repeat("0", 100_000)
	tests := []struct {
		in   string
		want Amount
		err  error
	}{
		{"0", 0, nil},
		{"-0", 0, nil},
		{"-0.00", 0, nil},
		{"120.5", 12050, nil},
		{"120.50", 12050, nil},
		{"1.500", 150, nil},
		{"1e2", 10000, nil},
		{"1E+2", 10000, nil},
		{"1e0", 100, nil},
		{"12050e-2", 12050, nil},
		{"100e-4", 1, nil},
		{"0.01", 1, nil},
		{"0.3", 30, nil},
		{"-5", -500, nil},
		{"-0.01", -1, nil},
		{"1e-2", 1, nil},
		{"1e-3", 0, ErrDecimals},
		{"1.005", 0, ErrDecimals},
		{"0.001", 0, ErrDecimals},
		{"0.0000000000000000000000000000000001", 0, ErrDecimals},
		{"1.0000000000000000000000000000000001", 0, ErrDecimals},
		{"99999999999999999999999999.001", 0, ErrDecimals},
		{"92233720368547758.07", MaxAmount, nil},
		{"-92233720368547758.07", -MaxAmount, nil},
		{"92233720368547758.070", MaxAmount, nil},
		{"9223372036854775807e-2", MaxAmount, nil},
		{"92233720368547758.08", 0, ErrAmountTooBig},
		{"-92233720368547758.08", 0, ErrAmountTooBig},
		{"18446744073709551616", 0, ErrAmountTooBig},
		{"184467440737095516.16", 0, ErrAmountTooBig}, // 2^64 hundredths: wraps to 0
		{"1e17", 0, ErrAmountTooBig},
		{"1e16", 1e18, nil},
		{"1e999999999999999999999", 0, ErrAmountTooBig},
		{"1e-999999999999999999999", 0, ErrDecimals},
		{"0e999999999999999999999", 0, nil},
		{"0.000e-999999999999999999999", 0, nil},
		{"1" + zeros + "e-100000", 100, nil},
		{"0." + zeros + "1e100001", 100, nil},
		{"1." + zeros, 100, nil},
		{"1" + zeros, 0, ErrAmountTooBig},
		{"1." + zeros + "1", 0, ErrDecimals},
		{"", 0, ErrNotDecimal},
		{"-", 0, ErrNotDecimal},
		{"+1", 0, ErrNotDecimal},
		{" 1", 0, ErrNotDecimal},
		{"1 ", 0, ErrNotDecimal},
		{"01", 0, ErrNotDecimal},
		{".5", 0, ErrNotDecimal},
		{"5.", 0, ErrNotDecimal},
		{"1e", 0, ErrNotDecimal},
		{"1e+", 0, ErrNotDecimal},
		{"1,5", 0, ErrNotDecimal},
		{"0x10", 0, ErrNotDecimal},
		{"NaN", 0, ErrNotDecimal},
		{"١", 0, ErrNotDecimal},
	}
	for _, tt := range tests {
		got, err := ParseAmount([]byte(tt.in))
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseAmount(%s) = %d, %v; want %d, %v", shorten(tt.in), got, err, tt.want, tt.err)
		}
	}
}

func TestAppendAmount(t *testing.T) {
	tests := map[Amount]string{
		0: "0", 1: "0.01", 10: "0.1", 30: "0.3", 99: "0.99", 100: "1", 12050: "120.5", 12000: "120", 12005: "120.05",
		-1: "-0.01", -500: "-5", -12050: "-120.5",
		MaxAmount: "92233720368547758.07", -MaxAmount: "-92233720368547758.07", math.MinInt64: "-92233720368547758.08",
	}
	for a, want := range tests {
		if got := a.String(); got != want {
			t.Errorf("Amount(%d) = %s, want %s", a, got, want)
		}
	}
	if got := Percent(550).String(); got != "5.5" {
		t.Errorf("Percent(550) = %s", got)
	}
}

// FuzzAmount compares with exact rational arithmetic.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"120.50", "1e2", "-92233720368547758.08", "1.005", "100e-4", "0.0e9", "18446744073709551616e-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount([]byte(s))
		if i := strings.IndexAny(s, "eE"); i >= 0 && len(s)-i > 5 {
			t.Skip("an exponent too large for math/big")
		}
		n, _ := scanNumber(s, 0)
		if n == 0 || n < len(s) {
			if !errors.Is(err, ErrNotDecimal) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("math/big does not read %q", s)
		}
		want.Mul(want, big.NewRat(100, 1))
		limit := new(big.Rat).SetInt64(math.MaxInt64)
		switch {
		case !want.IsInt():
			if !errors.Is(err, ErrDecimals) {
				t.Fatalf("%q: %d, %v", s, a, err)
			}
		case new(big.Rat).Abs(want).Cmp(limit) > 0:
			if !errors.Is(err, ErrAmountTooBig) {
				t.Fatalf("%q: %d, %v", s, a, err)
			}
		case err != nil || want.Num().Int64() != int64(a):
			t.Fatalf("%q: %d, %v, want %v", s, a, err, want)
		default:
			if again, err := ParseAmount(a.AppendJSON(nil)); again != a || err != nil {
				t.Fatalf("%q: %s is read as %d, %v", s, a, again, err)
			}
		}
	})
}

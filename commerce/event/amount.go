package event

import (
	"errors"
	"math"
	"strconv"
)

// MaxAmount is the largest Amount in size: 92233720368547758.07.
const MaxAmount Amount = math.MaxInt64

// Amount is money in minor units, hundredths whatever the currency: 12050 is
// 120.5. It is never a float.
type Amount int64

// The ways in which a decimal can fail to be an Amount.
var (
	ErrNotDecimal   = errors.New("is not a decimal number such as 120.5")
	ErrDecimals     = errors.New("has more than 2 decimals")
	ErrAmountTooBig = errors.New("is larger than 92233720368547758.07")
)

// AppendJSON appends a as the shortest exact decimal without exponent: 120.5,
// 120, 0.3.
func (a Amount) AppendJSON(b []byte) []byte {
	u := uint64(a)
	if a < 0 {
		b = append(b, '-')
		u = -u
	}
	b = strconv.AppendUint(b, u/100, 10)
	switch cents := byte(u % 100); {
	case cents == 0:
	case cents%10 == 0:
		b = append(b, '.', '0'+cents/10)
	default:
		b = append(b, '.', '0'+cents/10, '0'+cents%10)
	}
	return b
}

// String returns what AppendJSON appends.
func (a Amount) String() string { return string(a.AppendJSON(nil)) }

// ParseAmount reads a JSON number as money. It judges the value, not the
// spelling: 1e2, 120.50 and 1.500 are fine, 1.005 is not. The error is
// ErrNotDecimal, ErrDecimals or ErrAmountTooBig.
func ParseAmount(b []byte) (Amount, error) {
	s := string(b)
	if n, _ := scanNumber(s, 0); n != len(s) || n == 0 {
		return 0, ErrNotDecimal
	}
	return amountOf(s)
}

// amountOf reads a literal that scanNumber has accepted.
func amountOf(s string) (Amount, error) {
	i := 0
	negative := s[0] == '-'
	if negative {
		i++
	}
	var (
		mantissa uint64 // the significant digits up to the last one that is not 0
		zeros    int    // zeros after it
		decimals int    // digits after the point, zeros included
		long     bool   // the mantissa has more digits than any Amount
		point    bool
	)
	for ; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			if s[i] != '.' {
				break // the exponent
			}
			point = true
			continue
		}
		if point {
			decimals++
		}
		if c == 0 {
			zeros++
			continue
		}
		if mantissa != 0 {
			var ok bool
			if mantissa, ok = shift(mantissa, zeros+1); !ok || mantissa > math.MaxUint64-9 {
				long = true
				mantissa = 1
			}
		}
		mantissa += uint64(c)
		zeros = 0
	}
	if mantissa == 0 {
		return 0, nil
	}
	// Hundredths: the value is mantissa × 10^scale of them.
	scale := zeros - decimals + exponent(s[i:]) + 2
	if scale < 0 {
		return 0, ErrDecimals
	}
	u, ok := shift(mantissa, scale)
	if long || !ok || u > uint64(MaxAmount) {
		return 0, ErrAmountTooBig
	}
	if negative {
		return -Amount(u), nil
	}
	return Amount(u), nil
}

// shift returns u × 10^n, and false if that overflows. u is not 0.
func shift(u uint64, n int) (uint64, bool) {
	if n > 19 {
		return 0, false
	}
	for ; n > 0; n-- {
		if u > math.MaxUint64/10 {
			return 0, false
		}
		u *= 10
	}
	return u, true
}

// exponent reads the exponent of a number, "" or "e-2". Beyond ±10⁹, farther
// than any literal of bounded size can make up for, the exact size is of no
// interest.
func exponent(s string) int {
	if s == "" {
		return 0
	}
	s = s[1:]
	sign := 1
	switch s[0] {
	case '-':
		sign = -1
		s = s[1:]
	case '+':
		s = s[1:]
	}
	n := 0
	for i := 0; i < len(s) && n < 1e9; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return sign * n
}

// times returns a × n for a ≥ 0 and n ≥ 0, and false if that is more than
// MaxAmount.
func (a Amount) times(n int64) (Amount, bool) {
	if a != 0 && n > int64(MaxAmount)/int64(a) {
		return 0, false
	}
	return a * Amount(n), true
}

// Percent is a rate in hundredths of a percent: 2000 is 20 %.
type Percent int64

// AppendJSON appends p as the shortest exact decimal: 20, 5.5.
func (p Percent) AppendJSON(b []byte) []byte { return Amount(p).AppendJSON(b) }

// String returns what AppendJSON appends.
func (p Percent) String() string { return Amount(p).String() }

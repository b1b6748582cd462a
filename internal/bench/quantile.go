package bench

import (
	"math"
	"slices"
	"time"
)

// Quantiles are those of one phase, in milliseconds.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// quantiles are exact: nearest ranks of all values, without buckets.
func quantiles(took []time.Duration) Quantiles {
	if len(took) == 0 {
		return Quantiles{}
	}
	sorted := slices.Sorted(slices.Values(took))
	at := func(permille int) float64 {
		d := sorted[max(1, (len(sorted)*permille+999)/1000)-1]
		return math.Round(float64(d)/1e4) / 100 // to 10 µs
	}
	return Quantiles{P50: at(500), P90: at(900), P99: at(990), P999: at(999), Max: at(1000)}
}

// median of values, which are left as they are; the mean of the middle two of an
// even number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

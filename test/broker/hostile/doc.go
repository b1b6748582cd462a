// Package hostile sends a broker what no client should: random bytes, requests of
// every kind with random content, and the same spoilt, cut, announced too large,
// sent slowly, or never read, on many connections at once. Meanwhile the broker
// must not end, its memory must stay bounded, and honest clients beside must be
// served: what was acknowledged to them is read again at the end, and their
// latency is printed.
//
//	COMPTOIR_HOSTILE       for how long, as 20s or 10m; without it the test is left out
//	COMPTOIR_HOSTILE_SEED  decides what is sent; without it a new one, which is printed
package hostile

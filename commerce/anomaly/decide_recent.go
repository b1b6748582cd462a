package anomaly

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// maxRecent is how many times a stored Recent may hold.
const maxRecent = 1 << 16

// Recent holds the times of a client's latest orders, as few as tell whether
// the next one is too many. Its zero value is a client without orders.
type Recent struct {
	times []int64 // milliseconds since 1970, ascending
}

// Add notes an order at t and returns whether it is one of more than limit
// orders of the client within window, both ends included. Orders may come a
// little out of order: one older than another by more than window is no longer
// compared with the orders of its own time. It keeps at most limit+1 times, at
// most 65,536.
func (r *Recent) Add(t time.Time, window time.Duration, limit int) (over bool) {
	limit = min(max(limit, 0), maxRecent-1)
	ms, span := t.UnixMilli(), window.Milliseconds()
	at, _ := slices.BinarySearch(r.times, ms)
	for at < len(r.times) && r.times[at] == ms { // after its equals: later ones are kept longer
		at++
	}
	r.times = slices.Insert(r.times, at, ms)

	// Every run of limit+1 neighbours that contains t.
	for first := max(0, at-limit); first <= at && first+limit < len(r.times); first++ {
		if within(r.times[first], r.times[first+limit], span) {
			over = true
			break
		}
	}

	drop := max(0, len(r.times)-limit-1)
	last := r.times[len(r.times)-1]
	for !within(r.times[drop], last, span) {
		drop++
	}
	r.times = slices.Delete(r.times, 0, drop)
	return over
}

// within says whether b is at most span after a, where a ≤ b. Seen as unsigned
// their difference cannot overflow.
func within(a, b, span int64) bool { return uint64(b)-uint64(a) <= uint64(max(span, 0)) }

// Last returns the time of the latest order, false if there is none. Once it
// is more than the window ago, r tells no more than a new Recent.
func (r *Recent) Last() (t time.Time, ok bool) {
	if len(r.times) == 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(r.times[len(r.times)-1]).UTC(), true
}

// AppendBinary appends r in the form that ParseBinary reads: the number of
// times, the first, and each one's distance from the one before, as varints.
func (r *Recent) AppendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.times)))
	for i, t := range r.times {
		if i == 0 {
			b = binary.AppendVarint(b, t)
		} else {
			b = binary.AppendUvarint(b, uint64(t)-uint64(r.times[i-1]))
		}
	}
	return b
}

var errRecent = errors.New("recent orders of a client: the stored bytes are damaged")

// ParseBinary reads into r what AppendBinary wrote, the whole of b. After an
// error r is empty.
func (r *Recent) ParseBinary(b []byte) error {
	r.times = r.times[:0]
	n, b, ok := uvarint(b)
	if !ok || n > maxRecent || n > uint64(len(b)) { // a time takes a byte or more
		return errRecent
	}
	r.times = slices.Grow(r.times, int(n)+1)
	var last int64
	for i := range n {
		var u uint64
		if u, b, ok = uvarint(b); !ok {
			break
		}
		if i == 0 {
			last = int64(u>>1) ^ -int64(u&1) // zigzag, as binary.AppendVarint
		} else {
			next := int64(uint64(last) + u)
			if next < last || uint64(next)-uint64(last) != u {
				ok = false
				break
			}
			last = next
		}
		r.times = append(r.times, last)
	}
	if !ok || len(b) > 0 {
		r.times = r.times[:0]
		return errRecent
	}
	return nil
}

// uvarint reads a varint in its shortest form and returns the bytes after it.
func uvarint(b []byte) (u uint64, rest []byte, ok bool) {
	u, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return u, b[n:], true
}

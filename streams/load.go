package streams

import (
	"sync/atomic"
	"time"
)

// Load tells whether Apps that share it have more to do than they can do at
// once. Others in the process look at it to leave them the processors. The zero
// value is ready; it is safe for concurrent use, and nil is never high.
type Load struct{ seen atomic.Int64 }

// loadLasts is how long a sign of load counts: longer than a transaction of a
// busy App takes.
const loadLasts = 2 * time.Second

// High tells whether an App has had too much to do within the last two seconds:
// it ended a transaction, by its time or its size, while there was more to read,
// or met as many records as it takes at once. Apps that nobody waits for do not count.
func (l *Load) High() bool {
	return l != nil && time.Since(time.UnixMilli(l.seen.Load())) < loadLasts
}

func (l *Load) note() {
	if l != nil {
		l.seen.Store(time.Now().UnixMilli())
	}
}

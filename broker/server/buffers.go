package server

import (
	"math/bits"
	"sync"
)

// Memory for records on their way is used again: made anew each time it would be
// most of what the process asks the collector for. Sizes are powers of two.
const (
	leastBuffer = 12 // 4 KiB
	mostBuffer  = 22 // 4 MiB; what is larger is rare, and not worth keeping
)

var buffers [mostBuffer - leastBuffer + 1]sync.Pool

// takeBuffer returns n bytes with anything in them.
func takeBuffer(n int) []byte {
	class := bits.Len(uint(max(n, 1) - 1))
	if class < leastBuffer || class > mostBuffer {
		return make([]byte, n)
	}
	if b, ok := buffers[class-leastBuffer].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<class)
}

// giveBuffer takes back what takeBuffer returned: nobody may look at it any more.
// Others are left to the collector.
func giveBuffer(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class >= leastBuffer && class <= mostBuffer && cap(b) == 1<<class {
		b = b[:0]
		buffers[class-leastBuffer].Put(&b)
	}
}

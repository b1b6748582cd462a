package bench

import (
	"runtime"
	"testing"
	"time"
)

// TestThreadTime: a thread that waits has no processor time.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, ok := threadTime()
	const wait = 100 * time.Millisecond
	<-time.After(wait)
	after, also := threadTime()
	if !ok || !also || after < before || after-before > wait/2 {
		t.Errorf("from %v to %v of processor time in %v of waiting; known: %v, %v", before, after, wait, ok, also)
	}
}

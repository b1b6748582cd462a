package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time that this thread has had.
func threadTime() (time.Duration, bool) {
	var at unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at)
	return time.Duration(at.Nano()), err == nil
}

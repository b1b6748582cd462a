//go:build !linux

package bench

import "time"

// threadTime is the processor time that this thread has had: not known here.
func threadTime() (time.Duration, bool) { return 0, false }

package lifecycle

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx ends, and reports whether ctx goes on. A d of 0
// or less does not wait.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

package lifecycle

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		if !Sleep(ctx, time.Minute) || time.Since(begin) != time.Minute {
			t.Errorf("slept for %v, or ctx ended", time.Since(begin))
		}
		if !Sleep(ctx, -1) || time.Since(begin) != time.Minute {
			t.Error("a time that is over was waited for")
		}
		time.AfterFunc(time.Second, cancel)
		if Sleep(ctx, time.Minute) || time.Since(begin) != time.Minute+time.Second {
			t.Errorf("woke %v after the start, with ctx going on or not", time.Since(begin))
		}
		if Sleep(ctx, -1) {
			t.Error("an ended ctx goes on")
		}
	})
}

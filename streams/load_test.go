package streams

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoadPasses(t *testing.T) {
	var none *Load
	none.note()
	if none.High() {
		t.Error("no load is high")
	}
	synctest.Test(t, func(t *testing.T) {
		var l Load
		if l.High() {
			t.Error("high at first")
		}
		l.note()
		if !l.High() {
			t.Error("not high when it was just seen")
		}
		time.Sleep(loadLasts)
		if l.High() {
			t.Error("high for ever")
		}
	})
}

// TestLoadIsNoted: an App whose transactions end because they are full is under
// load, one that ends them when its input is dry is not.
func TestLoadIsNoted(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%v", full), func(t *testing.T) {
			c := newCluster(t)
			c.countingTopics()
			for i := range 50 {
				c.send(c.rec("in", -1, key17(i), fmt.Sprint(i)))
			}
			var l Load
			c.launch(t.TempDir(), c.counting, func(cfg *Config) {
				cfg.Load, cfg.CommitInterval = &l, 3*time.Second
				if full {
					cfg.BufferBytes, cfg.CommitInterval = 100, 100*time.Millisecond
				}
			})
			c.atRest(50)
			if noted := l.seen.Load() != 0; noted != full {
				t.Errorf("load is noted: %v", noted)
			}
		})
	}
}

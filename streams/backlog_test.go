package streams

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestOldRecordsAreHandled gives an App a backlog of an hour ago: the time that
// records carry must not be taken for how long they have been on their way.
func TestOldRecordsAreHandled(t *testing.T) {
	nearAndFar(t, func(t *testing.T, c *cluster) {
		c.countingTopics()
		var recs []*kgo.Record
		for i := range 100 {
			r := c.rec("in", -1, key17(i), fmt.Sprint(i))
			r.Timestamp = time.Now().Add(-time.Hour)
			recs = append(recs, r)
		}
		c.send(recs...)
		c.launch(t.TempDir(), c.counting)
		c.atRest(100)
	})
}

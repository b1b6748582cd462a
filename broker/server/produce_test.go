package server

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/test/broker/wire"
)

// A batch is refused for records that its topic does not take, and they are named.
func TestCheckRecords(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UnixMilli()
	plain := &core.ViewTopic{Before: 1000, After: 2000}
	for _, c := range []struct {
		name  string
		topic *core.ViewTopic
		keys  []string // - for none
		time  int64    // from now
		want  *kerr.Error
		bad   []int32
	}{
		{"good", plain, []string{"-", "b"}, 0, nil, nil},
		{"compacted", &core.ViewTopic{Compact: true, AppendTime: true}, []string{"a", "-", "c", "-"}, 0, kerr.InvalidRecord, []int32{1, 3}},
		{"compacted, with keys", &core.ViewTopic{Compact: true, AppendTime: true}, []string{"a", "b"}, 0, nil, nil},
		{"just not too old", plain, []string{"a"}, -1000, nil, nil},
		{"too old", plain, []string{"a", "b"}, -1001, kerr.InvalidTimestamp, []int32{0, 1}},
		{"just not too new", plain, []string{"a"}, 2000, nil, nil},
		{"too new", plain, []string{"a"}, 2001, kerr.InvalidTimestamp, []int32{0}},
		{"too new, with the broker's time", &core.ViewTopic{AppendTime: true}, []string{"a"}, 2001, nil, nil},
		{"no time", plain, []string{"a"}, -1 - now, nil, nil},
		{"too new, in a topic not known yet", nil, []string{"-"}, 2001, nil, nil},
	} {
		b := wire.New()
		b.Time = now + c.time
		for _, k := range c.keys {
			b.Values = append(b.Values, []byte("v"))
			b.Keys = append(b.Keys, nil)
			if k != "-" {
				b.Keys[len(b.Keys)-1] = []byte(k)
			}
		}
		topic := c.topic
		if topic == nil {
			topic = unknownTopic
		}
		got := checkRecords(b.Encode(), topic, now)
		if got.Err != c.want || len(got.Records) != len(c.bad) {
			t.Errorf("%s: %v %+v, want %v %v", c.name, got.Err, got.Records, c.want, c.bad)
			continue
		}
		for i, r := range got.Records {
			if r.Index != c.bad[i] || r.Text == "" {
				t.Errorf("%s: %+v, want %v", c.name, got.Records, c.bad)
			}
		}
	}

	// A small batch has no large answer.
	many := wire.New(make([][]byte, 10*namedRecords)...)
	if got := checkRecords(many.Encode(), &core.ViewTopic{Compact: true, AppendTime: true}, now); len(got.Records) != namedRecords {
		t.Errorf("%d records are named, want %d", len(got.Records), namedRecords)
	}
}

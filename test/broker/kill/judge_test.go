package kill

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The judges on what a broken broker would show.

func TestLogJudgesWhatStands(t *testing.T) {
	rec := func(offset int64, id uint64) *kgo.Record {
		return &kgo.Record{Partition: 0, Offset: offset, Value: value(id, 10)}
	}
	spoilt := rec(0, 1)
	spoilt.Value[13]++
	for _, c := range []struct {
		name              string
		acked             []ack
		stands            []*kgo.Record
		missing, doubtful int
	}{
		{"as acknowledged", []ack{{where{0, 0}, 1}, {where{0, 1}, 2}}, []*kgo.Record{rec(0, 1), rec(1, 2)}, 0, 0},
		{"more than acknowledged", []ack{{where{0, 0}, 1}}, []*kgo.Record{rec(0, 1), rec(1, 2)}, 0, 0},
		{"missing", []ack{{where{0, 0}, 1}, {where{0, 1}, 2}}, []*kgo.Record{rec(0, 1)}, 1, 0},
		{"another one there", []ack{{where{0, 0}, 1}}, []*kgo.Record{rec(0, 7)}, 1, 0},
		{"damaged", []ack{{where{0, 0}, 1}}, []*kgo.Record{spoilt}, 1, 0},
		{"moved", []ack{{where{0, 0}, 1}}, []*kgo.Record{rec(1, 1)}, 1, 0},
		{"in another partition", []ack{{where{1, 0}, 1}}, []*kgo.Record{rec(0, 1)}, 1, 0},
		{"at an unknown offset", []ack{{where{0, -1}, 1}}, []*kgo.Record{rec(5, 1)}, 0, 0},
		{"at an unknown offset, missing", []ack{{where{0, -1}, 1}}, nil, 1, 0},
		{"twice", []ack{{where{0, 0}, 1}}, []*kgo.Record{rec(0, 1), rec(1, 1)}, 0, 1},
	} {
		r := &run{tally: &tally{}}
		l := newTopicLog(r, "t", 2, duplicate)
		for _, s := range c.stands {
			l.stood(s)
		}
		l.judge(c.acked)
		if m, d := r.tally.count(missing), r.tally.count(duplicate); m != c.missing || d != c.doubtful || r.tally.total() != m+d {
			t.Errorf("%s: %d missing and %d duplicates, want %d and %d\n%s", c.name, m, d, c.missing, c.doubtful, r.tally)
		}
	}
}

func TestTransactionsAreJudged(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome outcome
		seen    []uint64
		want    fault // faults: none
	}{
		{"committed, whole", wasCommitted, []uint64{1, 2}, faults},
		{"committed, half", wasCommitted, []uint64{1}, half},
		{"committed, not seen", wasCommitted, nil, half},
		{"aborted, not seen", wasAborted, nil, faults},
		{"aborted, half", wasAborted, []uint64{2}, visible},
		{"unknown, whole", unknown, []uint64{1, 2}, faults},
		{"unknown, not seen", unknown, nil, faults},
		{"unknown, half", unknown, []uint64{2}, half},
	} {
		seen := map[uint64]bool{}
		for _, id := range c.seen {
			seen[id] = true
		}
		ty := &tally{}
		judgeTxn(ty, &txn{outcome: c.outcome, records: []txnRecord{{id: 1}, {id: 2}}}, []map[uint64]bool{seen})
		want := 0
		if c.want != faults {
			want = ty.count(c.want)
			if want != 1 {
				t.Errorf("%s: no %s\n%s", c.name, c.want, ty)
			}
		}
		if ty.total() != want {
			t.Errorf("%s\n%s", c.name, ty)
		}
	}
}

func TestKeysAreJudged(t *testing.T) {
	ty := &tally{}
	judgeKeys(ty, map[int]uint64{1: 3, 2: 5, 3: 1}, map[int]uint64{1: 3, 2: 7})
	if ty.count(lostKey) != 1 || ty.total() != 1 {
		t.Errorf("one key is lost:\n%s", ty)
	}
}

package differential

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// met is what the cases have brought about: a test that compares nothing passes,
// so each kind of request must have been granted and refused, and each version of
// it answered.
type met struct {
	mu   sync.Mutex
	kind map[kmsg.Key]*metKind
}

type metKind struct {
	granted, refused bool
	answered         map[int16]bool
}

func (m *met) add(req kmsg.Request, resp kmsg.Response) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kind == nil {
		m.kind = map[kmsg.Key]*metKind{}
	}
	k := m.kind[kmsg.Key(req.Key())]
	if k == nil {
		k = &metKind{answered: map[int16]bool{}}
		m.kind[kmsg.Key(req.Key())] = k
	}
	if resp == nil {
		return
	}
	k.answered[resp.GetVersion()] = true
	bad := false
	walk(resp, func(name string, v any) {
		if code, ok := v.(int16); ok && name == "ErrorCode" && code != 0 {
			bad = true
		}
	})
	k.granted, k.refused = k.granted || !bad, k.refused || bad
}

// neverRefused are requests that have no wrong answer, and why.
var neverRefused = map[kmsg.Key]string{
	kmsg.ListGroups:                 "a filter that nothing passes leaves an empty list",
	kmsg.DescribeLogDirs:            "what does not exist is left out",
	kmsg.ListPartitionReassignments: "what does not exist is left out",
}

func (m *met) complain(t *testing.T, both map[kmsg.Key]span) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(both)) {
		name, k := kmsg.NameForKey(int16(key)), m.kind[key]
		if k == nil {
			t.Errorf("no case sends %s", name)
			continue
		}
		if !k.granted {
			t.Errorf("no case has %s granted", name)
		}
		if k.refused == (neverRefused[key] != "") {
			t.Errorf("%s refused: %v (%s)", name, k.refused, neverRefused[key])
		}
		for v := both[key].low; v <= both[key].high; v++ {
			if !k.answered[v] {
				t.Errorf("no case has %s answered in version %d", name, v)
			}
		}
	}
	for key := range neverRefused {
		if _, ok := both[key]; !ok {
			t.Errorf("%s is not spoken by both", kmsg.NameForKey(int16(key)))
		}
	}
}

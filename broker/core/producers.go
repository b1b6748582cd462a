package core

import "math"

// producers are the transactional ids, and what the partitions know of producer
// ids.
type producers struct{}

// sequences is what a partition knows of one producer id: the last batches, by
// which it tells a repetition from a gap, and its open transaction.
type sequences struct{}

func (m *Machine) loadProducers(s State) error { return nil }

// abortAll aborts every open transaction and fences its producer: after a loss
// of power records acknowledged within it may be gone.
func (m *Machine) abortAll() {}

// stable is the offset below which no transaction is open.
func (p *partition) stable() int64 {
	first := int64(math.MaxInt64)
	return min(first, p.end)
}

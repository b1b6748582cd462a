package clean

import (
	"cmp"
	"slices"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
)

// transactions follows the transactions of a partition while its batches go by in
// order: which of them are aborted, and which still have records.
type transactions struct {
	// coming are the aborted transactions whose first record is still ahead, the
	// next one in front. aborted has those under way: producer, marker's offset.
	coming  []core.AbortedTransaction
	aborted map[int64]int64
	// records has the producers whose transaction under way has records that stay.
	records map[int64]bool
}

// newTransactions takes the aborted transactions of the range, in any order.
func newTransactions(all []core.AbortedTransaction) *transactions {
	slices.SortFunc(all, func(a, b core.AbortedTransaction) int { return cmp.Compare(a.First, b.First) })
	return &transactions{coming: all, aborted: map[int64]int64{}, records: map[int64]bool{}}
}

// discards says whether the records of a batch, which is no marker, belong to an
// aborted transaction.
func (t *transactions) discards(h batch.Header) bool {
	for len(t.coming) > 0 && t.coming[0].First <= h.BaseOffset {
		t.aborted[t.coming[0].Producer] = t.coming[0].Last
		t.coming = t.coming[1:]
	}
	last, ok := t.aborted[h.ProducerID]
	return ok && h.Transactional() && h.BaseOffset < last
}

// stays notes that a batch keeps records.
func (t *transactions) stays(h batch.Header) {
	if h.Transactional() {
		t.records[h.ProducerID] = true
	}
}

// ends notes a transaction's marker, and says whether it still has records.
func (t *transactions) ends(h batch.Header) (records bool) {
	records = t.records[h.ProducerID]
	delete(t.records, h.ProducerID)
	return records
}

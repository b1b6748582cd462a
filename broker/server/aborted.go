package server

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// aborted returns the aborted transactions that have records in the batches b,
// which begin at or before from: readers of committed records leave them out.
func (s *Server) aborted(p store.Partition, from int64, b []byte) ([]kmsg.FetchResponseTopicPartitionAbortedTransaction, error) {
	below := from
	for len(b) > 0 {
		h, err := batch.Parse(b)
		if err != nil {
			return nil, err
		}
		below = h.LastOffset() + 1
		b = b[h.Size:]
	}
	found, err := core.Aborted(s.cfg.Reader, p, from, below)
	all := make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 0, len(found))
	for _, f := range found {
		a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		a.ProducerID, a.FirstOffset = f.Producer, f.First
		all = append(all, a)
	}
	return all, err
}

package server

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// aborted returns the aborted transactions that have records in the next batches
// of p from from on, below below and of about max bytes, and where those end:
// readers of committed records leave them out.
func (s *Server) aborted(p store.Partition, from, below int64, max int) (all []kmsg.FetchResponseTopicPartitionAbortedTransaction, end int64, err error) {
	end = from
	err = s.cfg.Reader.Batches(p, from, below, func(b store.BatchInfo) error {
		if max <= 0 {
			return errFound
		}
		max -= b.Size
		end = b.Last + 1
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, end, err
	}
	found, err := core.Aborted(s.cfg.Reader, p, from, end)
	all = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 0, len(found))
	for _, f := range found {
		a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		a.ProducerID, a.FirstOffset = f.Producer, f.First
		all = append(all, a)
	}
	return all, end, err
}

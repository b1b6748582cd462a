package server

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
)

// produce checks the checksums of a produce request, here and not in the core,
// where one request works at a time. Damaged records go on to the core as none,
// which it refuses by partition.
func (c *conn) produce(ctx context.Context, s *slot, req *kmsg.ProduceRequest) error {
	for ti := range req.Topics {
		for pi := range req.Topics[ti].Partitions {
			p := &req.Topics[ti].Partitions[pi]
			if h, err := batch.Parse(p.Records); err == nil && !batch.Check(p.Records, h) {
				p.Records = nil
			}
		}
	}
	if req.Acks != 0 {
		s.answer = make(chan kmsg.Response, 1)
		return c.submit(ctx, s, req)
	}
	// Nobody waits in line: the memory is given back when the core has it.
	err := c.submit(ctx, s, req)
	if err == nil {
		s.held.release()
		c.server.cfg.Metrics.answered(s.header.key, 0)
	}
	return err
}

// storageError is the code of records that cannot be read.
var storageError = kerr.KafkaStorageError.Code

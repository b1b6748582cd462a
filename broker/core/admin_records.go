package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// toEnd asks DeleteRecords for all that there is.
const toEnd = -1

// deleteRecords moves the starts of partitions forward.
func (m *Machine) deleteRecords(r *Request, req *kmsg.DeleteRecordsRequest) {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, asked := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark = asked.Partition, -1
			start, err := m.deleteBefore(t.Topic, asked.Partition, asked.Offset)
			if rp.ErrorCode = code(err); err == nil {
				rp.LowWatermark = start
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

func (m *Machine) deleteBefore(name string, index int32, offset int64) (start int64, err *kerr.Error) {
	p, err := m.partition(name, index)
	if err != nil {
		return 0, err
	}
	if offset == toEnd {
		offset = p.end
	}
	switch {
	case !p.topic.settings.delete:
		return 0, kerr.PolicyViolation
	case offset < 0 || offset > p.end:
		return 0, kerr.OffsetOutOfRange
	case offset > p.start:
		m.trim(p, offset)
	}
	return p.start, nil
}

// trim gives a partition a later start, which is not after its end.
func (m *Machine) trim(p *partition, start int64) {
	p.start = start
	// Of the epochs that began before it, the last goes on at the start.
	kept := p.epochs
	for len(kept) > 1 && kept[1].Offset <= start {
		kept = kept[1:]
	}
	p.epochs = append([]EpochStart(nil), kept...)
	if len(p.epochs) > 0 && p.epochs[0].Offset < start {
		p.epochs[0].Offset = start
	}
	m.turn.Before = append(m.turn.Before, func() { p.log.raise(start) })
	m.turn.Commit.Trim(p.id, start)
	m.savePartition(p)
	m.forgetAborted(p)
	m.changed(p)
}

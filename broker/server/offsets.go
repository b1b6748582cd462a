package server

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/batch"
	"github.com/comptoir/comptoir/broker/core"
	"github.com/comptoir/comptoir/broker/store"
)

// Special timestamps of ListOffsets.
const (
	latest        = -1
	earliest      = -2
	maxTimestamp  = -3 // since version 7
	earliestLocal = -4 // since version 8
)

// special says whether a version of ListOffsets knows a special timestamp.
func special(at int64, version int16) bool {
	switch at {
	case latest, earliest:
		return true
	case maxTimestamp:
		return version >= 7
	case earliestLocal:
		return version >= 8
	}
	return false
}

func (s *Server) listOffsets(req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	type named struct {
		topic     string
		partition int32
	}
	times := map[named]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			times[named{t.Topic, p.Partition}]++
		}
	}
	for _, t := range req.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		found, missing := s.topic(t.Topic, [16]byte{}, false)
		for _, p := range t.Partitions {
			place := named{t.Topic, p.Partition}
			if times[place] == 0 {
				continue // answered
			}
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Timestamp, rp.Offset, rp.LeaderEpoch = p.Partition, -1, -1, -1
			l, code := logOf(found, missing, p.Partition)
			switch {
			case times[place] > 1:
				// Which time is meant nobody knows.
				rp.ErrorCode = kerr.InvalidRequest.Code
			case p.Timestamp < 0 && !special(p.Timestamp, req.Version):
				rp.ErrorCode = kerr.UnsupportedVersion.Code
			case l == nil:
				rp.ErrorCode = code
			default:
				s.listOffset(l, req, p, &rp)
			}
			times[place] = 0
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (s *Server) listOffset(l *core.Log, req *kmsg.ListOffsetsRequest, p kmsg.ListOffsetsRequestTopicPartition, rp *kmsg.ListOffsetsResponseTopicPartition) {
	state := l.State()
	if rp.ErrorCode = epochError(p.CurrentLeaderEpoch, state.Epoch); rp.ErrorCode != 0 {
		return
	}
	below := state.End
	if req.IsolationLevel == readCommitted {
		below = state.Stable
	}
	switch p.Timestamp {
	case latest:
		// Of the record that will come there.
		rp.Offset, rp.LeaderEpoch = below, state.Epoch
	case earliest, earliestLocal:
		rp.Offset, rp.LeaderEpoch = state.Start, state.Epoch
		if len(state.Epochs) > 0 {
			rp.LeaderEpoch = epochOf(state.Epochs, state.Start)
		}
	default:
		at, offset, err := s.byTime(l, p.Timestamp, state.Start, below)
		if err != nil {
			s.log.Error("broker cannot read records", "partition", l.ID, "err", err)
			rp.ErrorCode = storageError
			return
		}
		if rp.Timestamp, rp.Offset = at, offset; offset >= 0 {
			rp.LeaderEpoch = epochOf(state.Epochs, offset)
		}
	}
}

// byTime returns time and offset of the first record that is not older than ms,
// or of the newest for maxTimestamp; -1 for none.
func (s *Server) byTime(l *core.Log, ms, start, below int64) (at, offset int64, err error) {
	if ms == maxTimestamp {
		err := s.cfg.Reader.Batches(l.ID, start, below, func(b store.BatchInfo) error {
			ms = max(ms, b.MaxTimestamp)
			return nil
		})
		if err != nil || ms == maxTimestamp {
			return -1, -1, err
		}
	}
	at, offset = -1, -1
	err = s.cfg.Reader.Batches(l.ID, start, below, func(info store.BatchInfo) error {
		if info.MaxTimestamp < ms {
			return nil
		}
		b, err := s.cfg.Reader.Read(l.ID, info.Base, info.Base+1, 1, nil)
		if err != nil || len(b) == 0 {
			return err
		}
		h, err := batch.Parse(b)
		if err != nil {
			return err
		}
		err = batch.Records(b, h, func(r batch.Record) bool {
			if r.Timestamp >= ms && r.Offset >= start {
				at, offset = r.Timestamp, r.Offset
			}
			return offset < 0
		})
		if err == nil && offset >= 0 {
			err = errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return at, offset, err
}

// errFound ends a walk.
var errFound = errors.New("found")

// epochOf returns the leader epoch that an offset belongs to.
func epochOf(epochs []core.EpochStart, offset int64) int32 {
	for i := len(epochs) - 1; i >= 0; i-- {
		if epochs[i].Offset <= offset {
			return epochs[i].Epoch
		}
	}
	return -1
}

// offsetForLeaderEpoch says where an epoch ends, so that a client that has read
// beyond it learns that it has read what a crash took back (KIP-320).
func (s *Server) offsetForLeaderEpoch(req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		found, missing := s.topic(t.Topic, [16]byte{}, false)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			l, code := logOf(found, missing, p.Partition)
			if rp.ErrorCode = code; l != nil {
				state := l.State()
				if rp.ErrorCode = epochError(p.CurrentLeaderEpoch, state.Epoch); rp.ErrorCode == 0 {
					rp.LeaderEpoch, rp.EndOffset = endOf(state, p.LeaderEpoch)
				}
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// endOf returns the newest epoch that is not newer than asked, and the offset
// after its last record; -1 and -1 if there is none.
func endOf(state core.LogState, asked int32) (int32, int64) {
	if asked == state.Epoch {
		return asked, state.End
	}
	if asked > state.Epoch || asked < 0 {
		return -1, -1
	}
	end := state.End
	for i := len(state.Epochs) - 1; i >= 0; i-- {
		if e := state.Epochs[i]; e.Epoch <= asked {
			return e.Epoch, end
		}
		end = state.Epochs[i].Offset
	}
	return asked, max(state.Start, end)
}

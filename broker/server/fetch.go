package server

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
)

// readCommitted is the isolation level that hides open and aborted transactions.
const readCommitted = 1

// fetch answers with records, as soon as there are enough, or when the time that
// the client waits at most is over. Sessions are not kept (KIP-227): every
// answer says that there is none, and clients ask for all partitions each time.
func (s *Server) fetch(ctx context.Context, req *kmsg.FetchRequest, sent *held) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if req.SessionID != 0 || req.SessionEpoch > 0 {
		resp.ErrorCode = kerr.FetchSessionIDNotFound.Code
		return resp
	}
	deadline := time.NewTimer(min(time.Duration(max(0, req.MaxWaitMillis))*time.Millisecond, s.cfg.Limits.Stall))
	defer deadline.Stop()
	f := s.newFetch(req)
	defer func() {
		s.answers.seize(int64(f.got))
		sent.buffers = f.buffers
		sent.n.Add(int64(f.got))
	}()
	// The first look is without a watch: most fetches find something.
	if f.read(resp) {
		return resp
	}
	watch := core.Watch(f.logs)
	defer watch.Stop()
	for {
		if f.read(resp) {
			return resp
		}
		select {
		case <-watch.C:
		case <-deadline.C:
			return resp
		case <-ctx.Done():
			return resp
		}
	}
}

// fetching is a fetch request with its partitions found.
type fetching struct {
	server *Server
	req    *kmsg.FetchRequest
	parts  []fetchPart
	logs   []*core.Log
	got    int // bytes of the answer
	// buffers are what the answer's records stand in.
	buffers [][]byte
}

// leastFetch is how many bytes a fetch may answer with however many are on their
// way to other clients.
const leastFetch = 1 << 20

type fetchPart struct {
	topic, index int // in the request
	log          *core.Log
	code         int16 // why it cannot be read
}

func (s *Server) newFetch(req *kmsg.FetchRequest) *fetching {
	f := &fetching{server: s, req: req}
	for ti, t := range req.Topics {
		found, missing := s.topic(t.Topic, t.TopicID, req.Version >= 13)
		for pi, p := range t.Partitions {
			part := fetchPart{topic: ti, index: pi}
			if part.log, part.code = logOf(found, missing, p.Partition); part.log != nil {
				f.logs = append(f.logs, part.log)
			}
			f.parts = append(f.parts, part)
		}
	}
	return f
}

// topic finds a topic by name or, if byID, by id; else it returns a code.
func (s *Server) topic(name string, id [16]byte, byID bool) (*core.ViewTopic, int16) {
	if byID {
		if t, ok := s.cfg.View.TopicByID(id); ok {
			return t, 0
		}
		return nil, kerr.UnknownTopicID.Code
	}
	if t, ok := s.cfg.View.Topic(name); ok {
		return t, 0
	}
	return nil, kerr.UnknownTopicOrPartition.Code
}

// logOf returns the log of a partition of a topic that Server.topic was asked
// for, or nil and the code of the answer.
func logOf(t *core.ViewTopic, missing int16, partition int32) (*core.Log, int16) {
	switch {
	case t == nil:
		return nil, missing
	case partition < 0 || int(partition) >= len(t.Partitions):
		return nil, kerr.UnknownTopicOrPartition.Code
	}
	return t.Partitions[partition], 0
}

// read fills resp with what there is now. It reports whether that is enough to
// answer.
func (f *fetching) read(resp *kmsg.FetchResponse) bool {
	resp.Topics = resp.Topics[:0]
	left := min(f.server.cfg.Limits.Fetch, max(leastFetch, int(f.server.answers.free()/4)))
	if f.req.Version >= 3 {
		left = min(left, int(f.req.MaxBytes))
	}
	enough := len(f.parts) == 0
	for _, b := range f.buffers {
		giveBuffer(b) // of the last look, which found too little
	}
	f.got, f.buffers = 0, f.buffers[:0]
	at := -1
	for _, part := range f.parts {
		t := f.req.Topics[part.topic]
		if part.topic != at {
			at = part.topic
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			rt.Partitions = make([]kmsg.FetchResponseTopicPartition, 0, len(t.Partitions))
			resp.Topics = append(resp.Topics, rt)
		}
		rt := &resp.Topics[len(resp.Topics)-1]
		rp, more := f.partition(part, t.Partitions[part.index], left, f.got == 0)
		f.got += len(rp.RecordBatches)
		left -= len(rp.RecordBatches)
		if !more {
			left = 0 // the other partitions need not try
		}
		enough = enough || rp.ErrorCode != 0
		rt.Partitions = append(rt.Partitions, rp)
	}
	return enough || f.got > 0 && f.got >= int(f.req.MinBytes) || f.req.MinBytes <= 0
}

// partition reads one partition: at most left bytes, or if it is the first to
// have any, one batch at least, so that a client gets on. more is false when a
// batch does not fit any more.
func (f *fetching) partition(part fetchPart, p kmsg.FetchRequestTopicPartition, left int, first bool) (rp kmsg.FetchResponseTopicPartition, more bool) {
	rp = kmsg.NewFetchResponseTopicPartition()
	rp.Partition = p.Partition
	rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = -1, -1, -1
	rp.RecordBatches = []byte{}
	if part.log == nil {
		rp.ErrorCode = part.code
		return rp, true
	}
	state := part.log.State()
	if rp.ErrorCode = epochError(p.CurrentLeaderEpoch, state.Epoch); rp.ErrorCode != 0 {
		return rp, true
	}
	if f.req.ReplicaID >= 0 || f.req.ReplicaState.ID >= 0 {
		// A broker that would follow: there are no replicas.
		rp.ErrorCode = kerr.NotLeaderForPartition.Code
		rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = core.NodeID, state.Epoch
		return rp, true
	}
	if p.FetchOffset < state.Start || p.FetchOffset > state.End {
		rp.ErrorCode = kerr.OffsetOutOfRange.Code
		return rp, true
	}
	rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = state.End, state.Stable, state.Start
	below := state.End
	if f.req.IsolationLevel == readCommitted {
		below = state.Stable
		rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	}
	n := min(left, int(p.PartitionMaxBytes))
	if p.FetchOffset >= below || n <= 0 && !first {
		return rp, true
	}
	n = max(n, 1)
	var err error
	if f.req.IsolationLevel == readCommitted && state.Aborted {
		// Before the batches: the cleaner takes an aborted transaction's batches
		// away first, and what tells of it later.
		rp.AbortedTransactions, below, err = f.server.aborted(part.log.ID, p.FetchOffset, below, n)
	}
	var b []byte
	if err == nil {
		b, err = f.server.cfg.Reader.ReadInto(part.log.ID, p.FetchOffset, below, n, f.take)
	}
	if now := part.log.State(); p.FetchOffset < now.Start {
		// Records were deleted while we read: what we have may begin behind a gap.
		rp.ErrorCode = kerr.OffsetOutOfRange.Code
		rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = -1, -1, -1
		rp.AbortedTransactions = nil
		return rp, true
	}
	if !first && len(b) > left {
		return rp, false // a batch larger than what is left: the next fetch begins with it
	}
	if err != nil {
		// A partition that was deleted meanwhile reads as missing data.
		f.server.log.Error("broker cannot read records", "partition", part.log.ID, "offset", p.FetchOffset, "err", err)
		rp.ErrorCode = storageError
		rp.RecordBatches = []byte{}
		return rp, true
	}
	if b != nil {
		rp.RecordBatches = b
	}
	return rp, true
}

func (f *fetching) take(n int) []byte {
	b := takeBuffer(n)
	f.buffers = append(f.buffers, b)
	return b
}

// epochError holds the leader epoch that a client knows against ours (KIP-320);
// -1 is a client that does not look.
func epochError(client, ours int32) int16 {
	switch {
	case client < 0 || client == ours:
		return 0
	case client < ours:
		return kerr.FencedLeaderEpoch.Code
	default:
		return kerr.UnknownLeaderEpoch.Code
	}
}

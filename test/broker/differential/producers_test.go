package differential

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerCases are about transactions of both protocol versions, and about what
// tools see of them.
var producerCases = []kase{
	{kmsg.InitProducerID, "by the producer itself, while its transaction is open", func(s *session) {
		if s.version < 3 {
			s.note("producers say who they are since version 3")
			return
		}
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		req := initProducer(&p.name)
		req.ProducerID, req.ProducerEpoch = p.id, p.epoch
		s.send(req)
		s.stable(t, 0)
		s.send(s.fetchCommitted(t, 0, 0))
	}},
	{kmsg.InitProducerID, "after a commit and after an abort", func(s *session) {
		t := s.topic("t", 1)
		for _, commit := range []bool{true, false} {
			p := s.transactional("x")
			s.quiet(p.add(t, 0))
			s.quiet(p.produce(t, 0, 0, "a"))
			s.quiet(p.end(commit))
			s.stable(t, 0)
			s.send(initProducer(&p.name))
		}
	}},
	{kmsg.EndTxn, "with nothing written", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.send(p.end(true))
		p.follow()
		s.reaches(t, 1)
		s.send(s.fetch(t, 0, 0))
		s.quiet(p.add(t, 0))
		s.send(p.end(false))
		s.reaches(t, 2)
		s.send(s.fetch(t, 0, 0))
	}},
	{kmsg.EndTxn, "and a batch of the former epoch", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		former := *p
		s.send(p.end(true))
		p.follow()
		s.stable(t, 0)
		s.aside(func() {
			s.send(former.produce(t, 0, 1, "b"))
			s.send(former.add(t, 0))
			s.send(former.addOffsets())
			s.quiet(p.add(t, 0))
			s.send(p.produce(t, 0, p.sequence, "c"))
			s.send(former.produce(t, 0, 2, "d"))
		})
	}},
	{kmsg.EndTxn, "while another has the name", func(s *session) {
		t := s.topic("t", 1)
		old := s.transactional("x")
		s.quiet(old.add(t, 0))
		s.quiet(old.produce(t, 0, 0, "a"))
		s.transactional("x")
		s.stable(t, 0)
		s.send(old.end(true))
		s.send(old.end(false))
		s.send(s.fetchCommitted(t, 0, 0))
	}},
	{kmsg.Produce, "the first of a transaction begins in the middle", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.send(p.produce(t, 0, 5, "a"))
	}},
	{kmsg.Produce, "by others within a transaction", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		for _, who := range p.others(s)[:3] {
			s.send(who.produce(t, 0, 1, "b"))
		}
	}},
	{kmsg.Produce, "a transaction's batch again", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.send(p.produce(t, 0, 0, "a"))
		s.send(p.produce(t, 0, 0, "a"))
		s.send(p.produce(t, 0, 2, "c"))
	}},
	{kmsg.AddPartitionsToTxn, "verified by a broker", func(s *session) {
		if s.version < 4 {
			s.note("brokers ask since version 4")
			return
		}
		t := s.topic("t", 2)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		for n := range int32(2) {
			req := p.add(t, n)
			req.Transactions[0].VerifyOnly = true
			s.send(req)
		}
	}},
	{kmsg.AddPartitionsToTxn, "no topics", func(s *session) {
		p := s.transactional("x")
		req := p.add(s.topic("t", 1))
		req.Topics, req.Transactions[0].Topics = nil, nil
		s.send(req)
	}},
	{kmsg.AddOffsetsToTxn, "of no group", func(s *session) {
		req := s.transactional("x").addOffsets()
		req.Group = ""
		s.send(req)
	}},
	{kmsg.TxnOffsetCommit, "without group, and long metadata", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		req := p.commitOffset(t, 0, 5)
		req.Group = ""
		s.send(req)
		req = p.commitOffset(t, 0, 5)
		text := string(make([]byte, 5000))
		req.Topics[0].Partitions[0].Metadata = &text
		s.send(req)
	}},
	{kmsg.DescribeTransactions, "one that is open", func(s *session) {
		t := s.topic("t", 2)
		p := s.transactional("x")
		s.quiet(p.add(t, 0, 1))
		s.quiet(p.addOffsets())
		resp, ok := s.quiet(&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{p.name}}).(*kmsg.DescribeTransactionsResponse)
		if !ok || len(resp.TransactionStates) != 1 {
			s.note("no state=%+v", resp)
			return
		}
		x := &resp.TransactionStates[0]
		x.Topics = slices.DeleteFunc(x.Topics, func(x kmsg.DescribeTransactionsResponseTransactionStateTopic) bool {
			return x.Topic != t // Apache Kafka has its own beside it
		})
		s.write(&kmsg.DescribeTransactionsRequest{}, resp)
	}},
	{kmsg.ListTransactions, "by pattern and by age", func(s *session) {
		p := s.transactional("x")
		s.quiet(p.add(s.topic("t", 1), 0))
		begun := time.Now()
		s.until("time has passed", func() bool { return time.Since(begun) > 50*time.Millisecond })
		for _, pattern := range []string{"", s.prefix + ".*", ".*x", "x", "(", "nothing.*"} {
			req := &kmsg.ListTransactionsRequest{DurationFilterMillis: -1, TransactionalIDPattern: &pattern}
			s.listTransactions(req)
		}
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: 0})
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: 10})
	}},
	{kmsg.DescribeProducers, "after commit and abort", func(s *session) {
		t := s.topic("t", 1)
		for _, commit := range []bool{true, false} {
			p := s.transactional("x")
			s.quiet(p.add(t, 0))
			s.quiet(p.produce(t, 0, 0, "a"))
			s.quiet(p.end(commit))
			s.stable(t, 0)
			s.send(&kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: t, Partitions: []int32{0}}}})
		}
	}},
	{kmsg.WriteTxnMarkers, "an abort of what is open", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		s.reaches(t, 1)
		s.send(marker(p.id, p.epoch-1, t))
		s.send(marker(p.id, p.epoch, t))
		s.stable(t, 0)
		s.aside(func() { s.send(s.fetchCommitted(t, 0, 0)) })
	}},
	{kmsg.WriteTxnMarkers, "of a producer that nobody knows", func(s *session) {
		s.send(marker(1<<40, 0, s.topic("t", 1)))
	}},
}

// marker is an abort of one producer in the first partition of a topic.
func marker(id int64, epoch int16, topic string) *kmsg.WriteTxnMarkersRequest {
	return &kmsg.WriteTxnMarkersRequest{Markers: []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: id, ProducerEpoch: epoch,
		Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{0}}}}}}
}

package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

var transactionCases = []kase{
	{kmsg.InitProducerID, "an idempotent producer", func(s *session) { s.send(initProducer(nil)) }},
	{kmsg.InitProducerID, "a transactional id, again and again", func(s *session) {
		x := s.name("x")
		for range 3 {
			s.send(initProducer(&x))
		}
	}},
	{kmsg.InitProducerID, "no name", func(s *session) {
		x := ""
		s.send(initProducer(&x))
	}},
	{kmsg.InitProducerID, "time-outs out of bounds", func(s *session) {
		x := s.name("x")
		for _, ms := range []int32{0, -1, 2_000_000_000} {
			req := initProducer(&x)
			req.TransactionTimeoutMillis = ms
			s.send(req)
		}
	}},
	{kmsg.InitProducerID, "by producers that say who they are", func(s *session) {
		if s.version < 3 {
			s.note("producers say so since version 3")
			return
		}
		p := s.transactional("x")
		for _, who := range []struct {
			id    int64
			epoch int16
		}{{p.id, p.epoch}, {p.id, p.epoch}, {p.id, p.epoch + 1}, {p.id, p.epoch + 9}, {p.id + 1000, 0}, {p.id, -1}, {-1, 3}} {
			req := initProducer(&p.name)
			req.ProducerID, req.ProducerEpoch = who.id, who.epoch
			s.send(req)
		}
		req := initProducer(nil)
		req.ProducerID, req.ProducerEpoch = p.id, p.epoch
		s.send(req)
	}},
	{kmsg.InitProducerID, "while a transaction is open", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		s.send(initProducer(&p.name))
		s.stable(t, 0)
		s.send(s.fetchCommitted(t, 0, 0))
	}},

	{kmsg.AddPartitionsToTxn, "known and unknown partitions", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.send(p.add(t, 0))
		s.send(p.add(t, 0))
		s.send(p.add(t, 5))
		s.send(p.add(s.name("nowhere"), 0))
		s.send(p.add(t))
	}},
	{kmsg.AddPartitionsToTxn, "good and bad at once", func(s *session) {
		t := s.topic("t", 1)
		s.send(s.transactional("x").add(t, 0, 5))
	}},
	{kmsg.AddPartitionsToTxn, "by others", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		for _, who := range p.others(s) {
			s.send(who.add(t, 0))
		}
	}},
	{kmsg.AddOffsetsToTxn, "a group", func(s *session) {
		p := s.transactional("x")
		s.send(p.addOffsets())
		s.send(p.addOffsets())
	}},
	{kmsg.AddOffsetsToTxn, "by others", func(s *session) {
		for _, who := range s.transactional("x").others(s) {
			s.send(who.addOffsets())
		}
	}},
	{kmsg.TxnOffsetCommit, "committed and aborted", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		for n, commit := range []bool{true, false} {
			s.quiet(p.addOffsets())
			s.send(p.commitOffset(t, 0, int64(5+n)))
			s.quiet(p.end(commit))
			p.follow()
			s.until("the offset is there", func() bool { return s.committed(t, 0) == 5 })
		}
		s.send(s.fetchOffsets(t, 0))
	}},
	{kmsg.TxnOffsetCommit, "a group that is not in the transaction", func(s *session) {
		if s.version >= 5 {
			s.note("version 5 adds the group by itself")
			return
		}
		t := s.topic("t", 1)
		s.send(s.transactional("x").commitOffset(t, 0, 5))
	}},
	{kmsg.TxnOffsetCommit, "of an unknown partition", func(s *session) {
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		s.send(p.commitOffset(s.topic("t", 1), 5, 5))
		s.send(p.commitOffset(s.name("nowhere"), 0, 5))
	}},
	{kmsg.TxnOffsetCommit, "by a member, and by others", func(s *session) {
		if s.version < 3 {
			s.note("members say so since version 3")
			return
		}
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		m := s.member()
		for _, who := range []member{*m, {m.group, m.id, m.generation + 1}, {m.group, "ghost", m.generation}, {m.group, "", -1}, {m.group, m.id, -1}} {
			req := p.commitOffset(t, 0, 5)
			req.MemberID, req.Generation = who.id, who.generation
			s.send(req)
		}
	}},
	{kmsg.TxnOffsetCommit, "by a fenced producer", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.addOffsets())
		s.quiet(p.commitOffset(t, 0, 5))
		for _, who := range p.others(s) {
			s.send(who.commitOffset(t, 0, 5))
		}
	}},
	{kmsg.EndTxn, "commit and abort, seen by readers", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		for _, commit := range []bool{true, false} {
			s.quiet(p.add(t, 0))
			s.quiet(p.produce(t, 0, p.sequence, "a"))
			p.sequence++
			s.send(p.end(commit))
			p.follow()
			s.stable(t, 0)
			s.send(s.fetch(t, 0, 0))
			s.send(s.fetchCommitted(t, 0, 0))
		}
	}},
	{kmsg.EndTxn, "a transaction that was not begun", func(s *session) {
		p := s.transactional("x")
		s.send(p.end(true))
		p.follow()
		s.send(p.end(false))
	}},
	{kmsg.EndTxn, "twice", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "a"))
		s.send(p.end(true))
		s.stable(t, 0)
		s.send(p.end(true))
		s.send(p.end(false))
	}},
	{kmsg.EndTxn, "by others", func(s *session) {
		p := s.transactional("x")
		s.quiet(p.add(s.topic("t", 1), 0))
		for _, who := range p.others(s) {
			s.send(who.end(true))
		}
	}},
	{kmsg.DescribeTransactions, "open, ended, unknown", func(s *session) {
		t := s.topic("t", 1)
		p, q := s.transactional("x"), s.transactional("y")
		s.quiet(p.add(t, 0))
		s.quiet(q.add(t, 0))
		s.quiet(q.end(true))
		s.until("it has ended", func() bool {
			d, ok := s.quiet(&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{q.name}}).(*kmsg.DescribeTransactionsResponse)
			return ok && d.TransactionStates[0].State == "CompleteCommit"
		})
		s.send(&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{p.name, q.name, s.name("nobody")}})
		s.send(&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{""}})
	}},
	{kmsg.ListTransactions, "by state and producer", func(s *session) {
		t := s.topic("t", 1)
		p := s.transactional("x")
		s.transactional("y")
		s.quiet(p.add(t, 0))
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: -1})
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: -1, StateFilters: []string{"Ongoing"}})
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: -1, StateFilters: []string{"Empty", "no such state"}})
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: -1, ProducerIDFilters: []int64{p.id}})
		s.listTransactions(&kmsg.ListTransactionsRequest{DurationFilterMillis: 100_000_000})
	}},
	{kmsg.DescribeProducers, "of a partition", func(s *session) {
		t := s.topic("t", 1)
		s.quiet(s.produce(t, 0, wire.New([]byte("a"), []byte("b")).By(s.producerID(), 0, 0).Encode()))
		p := s.transactional("x")
		s.quiet(p.add(t, 0))
		s.quiet(p.produce(t, 0, 0, "c"))
		s.send(&kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: t, Partitions: []int32{0, 3}}, {Topic: s.name("nowhere"), Partitions: []int32{0}}}})
	}},
}

// transactional is a producer with a transactional id.
type transactional struct {
	s        *session
	name     string
	id       int64
	epoch    int16
	sequence int32
	ended    *kmsg.EndTxnRequest
}

func initProducer(name *string) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = name, 20_000
	return req
}

// producerID is a new idempotent producer's.
func (s *session) producerID() int64 {
	if resp, ok := s.quiet(initProducer(nil)).(*kmsg.InitProducerIDResponse); ok {
		return resp.ProducerID
	}
	return -1
}

// transactional starts a producer, which fences the former one of its name.
func (s *session) transactional(n string) *transactional {
	s.t.Helper()
	p := &transactional{s: s, name: s.name(n)}
	s.aside(func() {
		if resp, ok := s.quiet(initProducer(&p.name)).(*kmsg.InitProducerIDResponse); ok && resp.ErrorCode == 0 {
			p.id, p.epoch = resp.ProducerID, resp.ProducerEpoch
		} else {
			s.note("a producer cannot be started: %+v", resp)
		}
	})
	return p
}

// others are producers that p is not: of former and later epochs, other ids,
// other names.
func (p *transactional) others(s *session) []*transactional {
	return []*transactional{
		{s: s, name: p.name, id: p.id, epoch: p.epoch - 1},
		{s: s, name: p.name, id: p.id, epoch: p.epoch + 1},
		{s: s, name: p.name, id: p.id + 1_000_000, epoch: p.epoch},
		{s: s, name: s.name("nobody"), id: p.id, epoch: p.epoch},
		{s: s, name: "", id: p.id, epoch: p.epoch},
	}
}

func (p *transactional) add(topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	return &kmsg.AddPartitionsToTxnRequest{TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch,
		Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}},
		Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}}}}}
}

func (p *transactional) addOffsets() *kmsg.AddOffsetsToTxnRequest {
	return &kmsg.AddOffsetsToTxnRequest{TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch, Group: p.s.name("g")}
}

func (p *transactional) produce(topic string, partition, sequence int32, value string) *kmsg.ProduceRequest {
	req := p.s.produce(topic, partition, wire.New([]byte(value)).By(p.id, p.epoch, sequence).InTransaction().Encode())
	req.TransactionID = &p.name
	return req
}

func (p *transactional) commitOffset(topic string, partition int32, offset int64) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.name, p.s.name("g"), p.id, p.epoch
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: partition, Offset: offset, LeaderEpoch: -1}}}}
	return req
}

func (p *transactional) end(commit bool) *kmsg.EndTxnRequest {
	p.ended = &kmsg.EndTxnRequest{TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch, Commit: commit}
	return p.ended
}

// follow takes the next epoch, which versions of EndTxn from 5 on have begun.
func (p *transactional) follow() {
	if p.ended.Version >= 5 {
		p.epoch++
		p.sequence = 0
	}
}

// listTransactions notes the transactions of this case.
func (s *session) listTransactions(req *kmsg.ListTransactionsRequest) {
	resp, ok := s.quiet(req).(*kmsg.ListTransactionsResponse)
	if ok {
		var own []kmsg.ListTransactionsResponseTransactionState
		for _, x := range resp.TransactionStates {
			if len(x.TransactionalID) > len(s.prefix) && x.TransactionalID[:len(s.prefix)] == s.prefix {
				own = append(own, x)
			}
		}
		resp.TransactionStates = own
		s.write(req, resp)
	}
}

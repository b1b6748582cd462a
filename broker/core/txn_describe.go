package core

import (
	"cmp"
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeTransactions is version 0.
func (m *Machine) describeTransactions(r *Request, req *kmsg.DescribeTransactionsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
	for _, id := range once(req.TransactionalIDs, itself) {
		resp.TransactionStates = append(resp.TransactionStates, m.describeTransaction(id))
	}
	m.durable(r, resp)
}

func (m *Machine) describeTransaction(id string) kmsg.DescribeTransactionsResponseTransactionState {
	resp := kmsg.NewDescribeTransactionsResponseTransactionState()
	resp.TransactionalID = id
	t := m.producers.transactions[id]
	switch {
	case id == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	case t == nil:
		resp.ErrorCode = kerr.TransactionalIDNotFound.Code
		return resp
	}
	resp.State, resp.TimeoutMillis, resp.StartTimestamp = t.state.name(), int32(t.timeout.Milliseconds()), t.started
	resp.ProducerID, resp.ProducerEpoch = t.now.producer, t.now.epoch
	topics := map[string][]int32{}
	for _, p := range t.partitions {
		topics[p.topic.name] = append(topics[p.topic.name], p.index)
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		rt := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
		slices.Sort(topics[name])
		rt.Topic, rt.Partitions = name, topics[name]
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// states are the names that a list may be filtered by: Kafka's, of which some
// never occur here.
var states = []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

// listTransactions is versions 0 to 2.
func (m *Machine) listTransactions(r *Request, req *kmsg.ListTransactionsRequest) {
	resp := req.ResponseKind().(*kmsg.ListTransactionsResponse)
	var pattern *regexp.Regexp
	if req.Version >= 2 && req.TransactionalIDPattern != nil && *req.TransactionalIDPattern != "" {
		var err error
		if pattern, err = regexp.Compile(`^(?:` + *req.TransactionalIDPattern + `)$`); err != nil {
			resp.ErrorCode = kerr.InvalidRegularExpression.Code
			m.durable(r, resp)
			return
		}
	}
	for _, s := range req.StateFilters {
		if !slices.Contains(states, s) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, s)
		}
	}
	now := m.now.UnixMilli()
	producers, wanted := once(req.ProducerIDFilters, itself), once(req.StateFilters, itself)
	slices.Sort(producers)
	wanted = slices.DeleteFunc(wanted, func(s string) bool { return !slices.Contains(states, s) })
	for _, id := range slices.Sorted(maps.Keys(m.producers.transactions)) {
		t := m.producers.transactions[id]
		switch {
		case len(producers) > 0 && !found(producers, t.now.producer):
		case len(req.StateFilters) > 0 && !slices.Contains(wanted, t.state.name()):
		case req.Version >= 1 && req.DurationFilterMillis >= 0 && now-t.started <= req.DurationFilterMillis:
		case pattern != nil && !pattern.MatchString(id):
		default:
			rt := kmsg.NewListTransactionsResponseTransactionState()
			rt.TransactionalID, rt.ProducerID, rt.TransactionState = id, t.now.producer, t.state.name()
			resp.TransactionStates = append(resp.TransactionStates, rt)
		}
	}
	m.durable(r, resp)
}

// found looks for an id among sorted ones.
func found(sorted []int64, id int64) bool {
	_, ok := slices.BinarySearch(sorted, id)
	return ok
}

// describeProducers is version 0.
func (m *Machine) describeProducers(r *Request, req *kmsg.DescribeProducersRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	type asked struct {
		topic string
		index int32
	}
	seen := map[asked]bool{}
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		for _, index := range t.Partitions {
			if a := (asked{t.Topic, index}); seen[a] {
				continue // see once
			} else {
				seen[a] = true
			}
			rp := kmsg.NewDescribeProducersResponseTopicPartition()
			rp.Partition = index
			if err := checkTopicName(t.Topic); err != nil {
				rp.ErrorCode, rp.ErrorMessage = kerr.InvalidTopicException.Code, text(err.Error())
			} else if p, err := m.partition(t.Topic, index); err != nil {
				rp.ErrorCode = err.Code
			} else {
				rp.ActiveProducers = p.activeProducers()
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

func (p *partition) activeProducers() (all []kmsg.DescribeProducersResponseTopicPartitionActiveProducer) {
	for _, s := range slices.SortedFunc(maps.Values(p.producers), func(a, b *sequences) int { return cmp.Compare(a.producer, b.producer) }) {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.CoordinatorEpoch, a.CurrentTxnStartOffset = s.producer, int32(s.epoch), 0, s.open
		// Since a marker has raised its epoch it has written nothing else.
		a.LastSequence, a.LastTimestamp = -1, s.used
		if s.count > 0 {
			a.LastSequence, a.LastTimestamp = s.newest().last, s.newest().time
		}
		all = append(all, a)
	}
	return all
}

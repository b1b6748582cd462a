package core

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fenced gives an error the name that the client knows: PRODUCER_FENCED came
// with newer versions of each request (KIP-588).
func fenced(err *kerr.Error, newer bool) *kerr.Error {
	if err == kerr.ProducerFenced && !newer {
		return kerr.InvalidProducerEpoch
	}
	return err
}

// addPartitionsToTxn takes partitions into a transaction: versions 0 to 3 from
// clients, 4 and 5 for several transactional ids at once, as Kafka's brokers ask
// each other.
func (m *Machine) addPartitionsToTxn(r *Request, req *kmsg.AddPartitionsToTxnRequest) {
	m.relaxed(r, answerAddPartitions(req, func(x kmsg.AddPartitionsToTxnRequestTransaction) []*kerr.Error {
		if x.VerifyOnly {
			return m.verifyPartitions(x)
		}
		return m.addPartitions(x)
	}))
}

// answerAddPartitions answers with the errors that decide returns for each
// transaction, one for each of its partitions.
func answerAddPartitions(req *kmsg.AddPartitionsToTxnRequest, decide func(kmsg.AddPartitionsToTxnRequestTransaction) []*kerr.Error) *kmsg.AddPartitionsToTxnResponse {
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if req.Version >= 4 {
		for _, x := range req.Transactions {
			resp.Transactions = append(resp.Transactions, answerTransaction(x, decide(x)))
		}
		return resp
	}
	x := kmsg.NewAddPartitionsToTxnRequestTransaction()
	x.TransactionalID, x.ProducerID, x.ProducerEpoch = req.TransactionalID, req.ProducerID, req.ProducerEpoch
	for _, t := range req.Topics {
		xt := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		xt.Topic, xt.Partitions = t.Topic, t.Partitions
		x.Topics = append(x.Topics, xt)
	}
	for _, t := range answerTransaction(x, decide(x)).Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, p.ErrorCode
			if p.ErrorCode == kerr.ProducerFenced.Code && req.Version < 2 {
				rp.ErrorCode = kerr.InvalidProducerEpoch.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func answerTransaction(x kmsg.AddPartitionsToTxnRequestTransaction, errs []*kerr.Error) kmsg.AddPartitionsToTxnResponseTransaction {
	resp := kmsg.NewAddPartitionsToTxnResponseTransaction()
	resp.TransactionalID = x.TransactionalID
	next := 0
	for _, t := range x.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		rt.Topic = t.Topic
		for _, index := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			rp.Partition, rp.ErrorCode = index, code(errs[next])
			rt.Partitions = append(rt.Partitions, rp)
			next++
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// everyPartition returns an error for each partition of x.
func everyPartition(x kmsg.AddPartitionsToTxnRequestTransaction, err *kerr.Error) (errs []*kerr.Error) {
	for _, t := range x.Topics {
		for range t.Partitions {
			errs = append(errs, err)
		}
	}
	return errs
}

// addPartitions adds all partitions or none, and returns the outcome of each.
func (m *Machine) addPartitions(x kmsg.AddPartitionsToTxnRequestTransaction) []*kerr.Error {
	var (
		found   []*partition
		errs    []*kerr.Error
		unknown bool
	)
	for _, t := range x.Topics {
		for _, index := range t.Partitions {
			p, err := m.partition(t.Topic, index)
			if err == nil && internal(t.Topic) {
				err = kerr.TopicAuthorizationFailed
			}
			unknown = unknown || err != nil
			found, errs = append(found, p), append(errs, err)
		}
	}
	if unknown {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = kerr.OperationNotAttempted
			}
		}
		return errs
	}
	t, err := m.transaction(x.TransactionalID, x.ProducerID, x.ProducerEpoch)
	if err != nil {
		return everyPartition(x, err)
	}
	if len(found) > 0 {
		m.begin(t)
	}
	for _, p := range found {
		t.add(p)
	}
	return errs
}

// verifyPartitions says of each partition whether it is in the transaction.
func (m *Machine) verifyPartitions(x kmsg.AddPartitionsToTxnRequestTransaction) (errs []*kerr.Error) {
	t, err := m.transaction(x.TransactionalID, x.ProducerID, x.ProducerEpoch)
	if err != nil {
		return everyPartition(x, err)
	}
	for _, xt := range x.Topics {
		for _, index := range xt.Partitions {
			p, unknown := m.partition(xt.Topic, index)
			if unknown != nil || !t.has(p) {
				errs = append(errs, kerr.TransactionAbortable)
			} else {
				errs = append(errs, nil)
			}
		}
	}
	return errs
}

// outside is the error of what is not in its transaction: clients of newer
// versions know one that tells them to abort (KIP-890).
func outside(newer bool) *kerr.Error {
	if newer {
		return kerr.TransactionAbortable
	}
	return kerr.InvalidTxnState
}

// addOffsetsToTxn takes a group's offsets into a transaction: versions 0 to 4.
func (m *Machine) addOffsetsToTxn(r *Request, req *kmsg.AddOffsetsToTxnRequest) {
	resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	t, err := m.transaction(req.TransactionalID, req.ProducerID, req.ProducerEpoch)
	if err == nil {
		err = m.addGroup(t, req.Group)
	}
	resp.ErrorCode = code(fenced(err, req.Version >= 2))
	m.relaxed(r, resp)
}

// addGroup takes a group into a transaction, which begins with it if need be.
func (m *Machine) addGroup(t *transaction, name string) *kerr.Error {
	if t.state == ongoing && t.group(name) != nil {
		return nil
	}
	if len(t.groups) >= maxTransactionGroups {
		return kerr.InvalidRequest
	}
	m.begin(t)
	t.groups = append(t.groups, &txnGroup{name: name, offsets: map[*partition]txnOffset{}})
	return nil
}

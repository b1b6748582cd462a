package core

import (
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerID gives out a producer id, or takes over a transactional id:
// versions 0 to 5. What the id has left open is aborted in the same turn, where
// Kafka has the client come again (CONCURRENT_TRANSACTIONS).
func (m *Machine) initProducerID(r *Request, req *kmsg.InitProducerIDRequest) {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	given, err := m.initProducer(req)
	if err != nil {
		given = nobody
	}
	resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code(fenced(err, req.Version >= 4)), given.producer, given.epoch
	m.durable(r, resp)
}

func (m *Machine) initProducer(req *kmsg.InitProducerIDRequest) (incarnation, *kerr.Error) {
	asks := incarnation{producer: req.ProducerID, epoch: req.ProducerEpoch}
	if (asks.producer == -1) != (asks.epoch == -1) {
		return nobody, kerr.InvalidRequest
	}
	if req.TransactionalID == nil {
		return incarnation{producer: m.newProducer()}, nil
	}
	id, timeout := *req.TransactionalID, time.Duration(req.TransactionTimeoutMillis)*time.Millisecond
	if id == "" {
		return nobody, kerr.InvalidRequest
	}
	if timeout <= 0 || timeout > maxTransactionTimeout {
		return nobody, kerr.InvalidTransactionTimeout
	}
	t := m.producers.transactions[id]
	if t == nil {
		// Also for who knows an id and an epoch: they have expired.
		t = &transaction{id: id, now: incarnation{producer: m.newProducer()}, last: nobody, timeout: timeout, started: -1}
		m.producers.transactions[id] = t
		m.touchTransaction(t)
		return t.now, nil
	}
	open := t.state == ongoing
	switch asks {
	case nobody:
		m.fence(t)
		if open && t.now.epoch < lastEpoch {
			// One epoch for the abort, as Kafka has it, one for who begins.
			t.now.epoch++
		}
		t.last = nobody
		if t.now.epoch > lastEpoch {
			t.now = incarnation{producer: m.newProducer()}
		}
	case t.now:
		// The producer goes on after an error (KIP-360).
		m.fence(t)
		t.last = asks
		if t.now.epoch > lastEpoch {
			t.now = incarnation{producer: m.newProducer()}
		}
	case t.last:
		// It has missed the answer.
		if t.state == ongoing {
			return nobody, kerr.ProducerFenced
		}
		m.touchTransaction(t)
	default:
		return nobody, kerr.ProducerFenced
	}
	t.timeout, t.state, t.bumped, t.started = timeout, empty, false, -1
	return t.now, nil
}

// fence raises the epoch of a transactional id, so that who had it can do
// nothing more, and aborts what it has open.
func (m *Machine) fence(t *transaction) {
	t.last = nobody
	if t.now.epoch > lastEpoch {
		// It has been fenced with its last epoch already.
		t.now = incarnation{producer: m.newProducer()}
	} else {
		t.now.epoch++
	}
	m.touchTransaction(t)
	if t.state == ongoing {
		m.end(t, false)
		t.bumped = false
	}
}

// abortAll fences every transactional id, and aborts what is open: after a loss
// of power records that were acknowledged within a transaction may be gone, even
// with its beginning, and nobody may commit the rest.
func (m *Machine) abortAll() {
	for _, id := range slices.Sorted(maps.Keys(m.producers.transactions)) {
		m.fence(m.producers.transactions[id])
	}
}

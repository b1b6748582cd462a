// Package orderdb owns the order database: orders and their states, idempotency
// keys, the outbox, the index of every order's records (its timeline), and the
// projections of stock and catalogue. It stands on SQLite (one process) or
// PostgreSQL (15 or later, any number of instances) behind one interface, held
// to one conformance suite.
//
// It keeps what others decide: package api what a request means, package relay
// how rows reach Kafka, package track what records say. It must not speak HTTP
// or Kafka.
package orderdb

import (
	"context"
	"errors"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// ErrUnavailable is in the error of every call that the database could not
// answer now: it is down, starting, or too slow. Nothing of the call was done,
// or its outcome is unknown; it may be repeated.
var ErrUnavailable = errors.New("order database unavailable")

// ErrMoved says that a Batch's positions are not where the database's are:
// somebody else has tracked these partitions meanwhile, or the batch was applied
// before. Nothing of it was done; the caller reads the positions again.
var ErrMoved = errors.New("positions have moved")

// DB is an order database. It is safe for concurrent use; calls honour their
// context. Writes of concurrent callers share a transaction (group commit), and
// return when that is durable.
type DB interface {
	// Submit makes a request durable: its order, its outbox messages and its
	// answer under the idempotency key, all or nothing.
	Submit(ctx context.Context, s Submission) (Outcome, error)
	// Answer looks an idempotency key up. ok is false if it is unknown or
	// expired.
	Answer(ctx context.Context, key string) (a Answered, ok bool, err error)

	// Order returns an order; ok is false if nothing is known of the id.
	Order(ctx context.Context, id event.ID) (o Order, ok bool, err error)
	// Orders returns at most f.Limit orders, the last ones first.
	Orders(ctx context.Context, f Filter) ([]Order, error)
	// Timeline returns where an order's records stand, by time, then by the
	// order of the pipeline. At most TimelineLimit entries: the first ones.
	Timeline(ctx context.Context, id event.ID) ([]Entry, error)
	// Changes returns, for those of the ids that are known, how often the order
	// or its timeline has changed: what differs from an earlier answer is to be
	// read again.
	Changes(ctx context.Context, ids []event.ID) (map[event.ID]int64, error)
	// Product returns a product that catalogue or stock know.
	Product(ctx context.Context, id event.ID) (p Product, ok bool, err error)
	// Products returns at most limit products behind the id after, by id.
	Products(ctx context.Context, after event.ID, limit int) ([]Product, error)

	// Shards is the number of shards the outbox is divided into, fixed when the
	// database was made.
	Shards() int
	// Hold takes a shard of the outbox, if nobody else has it: ok is false
	// otherwise. It is held until Release, or until lost is closed because the
	// database no longer knows of us.
	Hold(ctx context.Context, shard int) (lock Lock, ok bool, err error)
	// Relays is the number of live instances that relay, ourselves included: a
	// fair share of the shards is Shards/Relays, rounded up. An instance counts
	// from its first Hold on.
	Relays(ctx context.Context) (int, error)
	// Leave makes the instance not count, until its next Hold: the others may
	// take what was its share. What it still holds is lost.
	Leave(ctx context.Context) error
	// Unsent returns messages that are not marked as sent, by shard: of each shard
	// that limits names at most so many, by number, in the order in which they must
	// reach Kafka.
	Unsent(ctx context.Context, limits map[int]int) (map[int][]Message, error)
	// Sent marks messages as sent. Marking one twice is fine.
	Sent(ctx context.Context, numbers []int64) error
	// Pending counts what is not sent, and says when the oldest of it was
	// accepted (zero if there is none).
	Pending(ctx context.Context) (n int64, oldest time.Time, err error)
	// Resend marks those messages as unsent that were sent last: the last one of
	// all, and those sent within that time before it. It counts them.
	Resend(ctx context.Context, within time.Duration) (int64, error)
	// Wake returns a channel that is closed soon after messages were submitted
	// by this process or, where the database can tell and this one holds a shard or
	// has tried to, by another. It wakes all readers, once: take a new one, before
	// reading Unsent, for the next time.
	Wake() <-chan struct{}

	// Positions returns where tracking goes on, by partition.
	Positions(ctx context.Context) (map[Partition]Position, error)
	// Apply takes what tracking has read: entries, changes and the new
	// positions, all or nothing. ErrMoved if the positions are elsewhere.
	Apply(ctx context.Context, b Batch) error
	// Forget removes the timeline entries of a partition from offset on, and
	// sets its position there: what was lost by a broker is written again under
	// the same offsets.
	Forget(ctx context.Context, p Partition, to Position) error

	// Cluster returns the id of the Kafka cluster that the database goes with:
	// the one given if there is none yet, or if adopt is true.
	Cluster(ctx context.Context, id string, adopt bool) (bound string, err error)

	// Prune removes what is kept for a while only: idempotency keys older than
	// 24 h and messages sent before sentBefore, some thousand at a time. done is
	// false if there is more.
	Prune(ctx context.Context, now, sentBefore time.Time) (done bool, err error)
	// Ping says whether the database answers.
	Ping(ctx context.Context) error
	// Close ends what is under way and releases the database.
	Close() error
}

// Lock is a shard of the outbox held by us.
type Lock interface {
	// Lost is closed when the lock is no longer ours.
	Lost() <-chan struct{}
	// Release gives it back. It may be called twice, and after Lost.
	Release()
}

// TimelineLimit is the most entries of one order that are returned.
const TimelineLimit = 10_000

// Submission is what one request wants to be durable.
type Submission struct {
	// Key is the Idempotency-Key, empty for none; Fingerprint is of everything
	// that must be equal for the same answer: method, path and body.
	Key         string
	Fingerprint [32]byte
	// Order is the order that is placed, nil for other requests.
	Order *NewOrder
	// Product is the catalogue entry that is put, nil for other requests. It is
	// shown at once; the messages bring it to the stages.
	Product *event.Product
	// Messages are sent if the request takes effect: not when the order is known
	// already.
	Messages []Message
	// Answers are what is kept under the key, by result.
	Answers map[Result]Answer
	// At is the time of acceptance.
	At time.Time
}

// Result says what became of a Submission.
type Result uint8

const (
	// Created: the order or product is new; also the result of requests that
	// have neither.
	Created Result = iota + 1
	// Same: the id is known with the same content (order), or the product was
	// known (its new content counts).
	Same
	// Conflict: the order's id is known with other content. Nothing is sent.
	Conflict
	// Repeated: the idempotency key is known with the same fingerprint: Answer
	// is the first one's.
	Repeated
	// KeyReused: the idempotency key is known with another fingerprint.
	KeyReused
)

// Outcome is the answer to a Submission.
type Outcome struct {
	Result Result
	// Answer is the one for Result, or, if Repeated, the one kept.
	Answer Answer
}

// Answer is an HTTP answer as it is repeated.
type Answer struct {
	Status   int
	Location string // empty for none
	Body     []byte
}

// Answered is an idempotency key with what was answered.
type Answered struct {
	Fingerprint [32]byte
	Answer      Answer
}

// NewOrder is an order accepted by HTTP.
type NewOrder struct {
	ID     event.ID
	Client event.ID
	Digest [16]byte
	// Value is the record's value.
	Value []byte
}

// Message is a row of the outbox.
type Message struct {
	// Number is given by the database.
	Number int64
	Topic  string
	// Key decides shard and partition: messages of one key stay in order.
	Key, Value []byte
	Headers    []Header
	// At becomes the record's timestamp.
	At time.Time
}

// Header is a record header.
type Header struct {
	Key   string
	Value []byte
}

// State is an order's state, in rising rank.
type State uint8

// The states of the contract. Order.State is what is shown: the highest of what
// the order's records say.
const (
	Unknown        State = iota // only records that say nothing of the state
	Rejected                    // REJETEE: only incoherent records carry this id
	InConflict                  // EN_CONFLIT: another order took the id, and it is not known yet
	Received                    // RECUE
	Reserved                    // RESERVEE
	Paid                        // PAYEE
	Invoiced                    // FACTUREE
	Notified                    // NOTIFIEE
	StockRefused                // STOCK_REFUSE
	PaymentRefused              // PAIEMENT_REFUSE
)

var stateNames = [...]string{"", "REJETEE", "EN_CONFLIT", "RECUE", "RESERVEE", "PAYEE", "FACTUREE", "NOTIFIEE", "STOCK_REFUSE", "PAIEMENT_REFUSE"}

// String returns the contract's word, empty for Unknown.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// ParseState reads the contract's word.
func ParseState(word string) (State, bool) {
	for s, name := range stateNames {
		if name == word && name != "" {
			return State(s), true
		}
	}
	return Unknown, false
}

// Final says whether nothing follows: a refusal, or NOTIFIEE.
func (s State) Final() bool {
	switch s {
	case Rejected, InConflict, Notified, StockRefused, PaymentRefused:
		return true
	}
	return false
}

// Order is what is known of an order id.
type Order struct {
	ID event.ID
	// Number rises with the time at which the id became known: the cursor of
	// lists.
	Number int64
	State  State
	// Client is the client's id, empty while unknown.
	Client event.ID
	// Digest and Value are the content: of the winner if it is known. Value is
	// nil while only later records of the order were seen.
	Digest [16]byte
	Value  []byte
	// Verdict is the value of the order's record in stock.verifie, nil before.
	Verdict []byte
	// Reason is the motif of a refusal.
	Reason  string
	Invoice string
	Alerts  []string // of this content
	// At is the time of the order's record, or of acceptance by HTTP: the
	// date_commande of an order that gives none.
	At time.Time
	// Updated is when the last record was written that changed the order. What is
	// refused, be it another order under this id, changes nothing, unless it is
	// all there is.
	Updated time.Time
	// Changes counts what happened to order and timeline.
	Changes int64
}

// Filter selects orders.
type Filter struct {
	State  State    // Unknown: all
	Client event.ID // empty: all
	Before int64    // only Numbers below it; 0: all
	Limit  int
}

// Entry is one record of an order.
type Entry struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
}

// Product is a product with its stock.
type Product struct {
	ID       event.ID
	Name     string
	Price    event.Amount
	HasPrice bool
	// Available and Reserved are its level after the last movement.
	Available, Reserved int64
}

// Partition names a partition of a topic.
type Partition struct {
	Topic     string
	Partition int32
}

// Position is where tracking goes on in a partition.
type Position struct {
	// Topic is the topic's id: another one under the same name is read from its
	// start.
	Topic [16]byte
	Next  int64
}

// Batch is what tracking has read since its last one, in the order of reading.
type Batch struct {
	// From and To are the positions before and after, of the same partitions.
	// The database must be at From (absent there: Next is 0), else ErrMoved.
	From, To map[Partition]Position
	Orders   []OrderChange
	Levels   []Level
	Products []event.Product
}

// OrderChange is what one record says of an order. It is indexed in the order's
// timeline, and changes the order by the fields that are set.
type OrderChange struct {
	ID    event.ID
	Entry Entry
	// More are other records, indexed too, that say nothing beyond what is said
	// here: what they said of State, Verdict, Client and Invoice is joined.
	More []Entry
	// State is raised to this rank; Unknown says nothing. Received and
	// InConflict come with a Content.
	State State
	// Content is the coherent order in a record of commandes.ecommerce
	// (Received), or the one a conflict accuses (InConflict).
	Content *Content
	Verdict []byte   // the value of a record of stock.verifie
	Client  event.ID // from any record that tells it
	Reason  string
	Invoice string
	// Alerts are added to those of the content they accuse: the one with the
	// digest Accused or, if that is zero, the one whose record stands at Origin.
	Alerts  []string
	Accused [16]byte
	Origin  Entry // without its time
}

// Content is an order as one record has it.
type Content struct {
	Digest [16]byte
	Client event.ID
	Value  []byte
	At     time.Time // of the record
}

// Level is a product's stock after a movement.
type Level struct {
	Product             event.ID
	Name                string
	Available, Reserved int64
}

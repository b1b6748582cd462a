package core

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// Client is who sent a request.
type Client struct {
	ID   string // the client.id it gives itself
	Host string // the address it comes from
}

// Request is a request of the protocol on its way through the machine.
type Request struct {
	Client Client
	Body   kmsg.Request
	// Refused says, for partitions of a produce request, why their records
	// cannot be taken: what the server saw when it looked into them.
	Refused map[Place]Refusal
	// Answer is called once at most, with a response of the same key and
	// version, or nil for one that wants none. It must not block. Then, or when
	// Dropped is called, the core is done with the request and its bytes.
	Answer func(kmsg.Response)
	// Dropped is called in place of Answer when nobody can say what became of
	// the request: its connection is to be closed.
	Dropped func()

	// work is what the broker itself wants done in a turn, in place of Body.
	work func(*Machine)
}

// Config is what a machine knows of its surroundings.
type Config struct {
	ClusterID string
	// Host and Port are what clients are told to connect to.
	Host string
	Port int32
	// DefaultPartitions is the number of partitions of a topic created without
	// a number.
	DefaultPartitions int32
	// MinSession is the shortest session time-out a group member may ask for.
	MinSession time.Duration
	// FutureLimit is how far ahead of the broker's clock a record may be dated;
	// zero for no limit (KIP-937).
	FutureLimit time.Duration
	// Dir is what clients are told of where the data is.
	Dir string
	// Size returns the bytes that a partition takes; nil for unknown.
	Size func(store.Partition) int64
	// Settled, if set, is told how many durable answers went out together. It must
	// be quick.
	Settled func(answers int)
	// Panicked, if set, is told of each panic of the machine.
	Panicked func()
	// Space returns the bytes of the disk, and how many are free; nil for unknown.
	Space  func() (total, free int64)
	Logger *slog.Logger

	turns uint64         // of the machine before
	shown *atomic.Uint64 // see Machine.shown
}

// State is what a machine is loaded from.
type State interface {
	// Scan calls fn for each key that begins with prefix, in order. Key and
	// value are fn's only during the call.
	Scan(prefix []byte, fn func(key, value []byte) error) error
	// Bounds returns the first offset of a partition's first batch and the one
	// after its last; ok is false when it has none.
	Bounds(store.Partition) (first, next int64, ok bool)
}

// Machine is the broker's state and its rules. It is not safe for concurrent use.
type Machine struct {
	cfg  Config
	log  *slog.Logger
	now  time.Time
	view *View
	// readOnly is why nothing can be written now; nil when all is well.
	readOnly error

	identity  identity
	topics    topics
	producers producers
	groups    groups
	compacted map[store.Partition]Compacted
	timers    timers

	// parked are requests of turns that are written, which wait for others, as a
	// JoinGroup does.
	parked map[*Request]struct{}

	turn Turn
	// number counts turns; shown is the number of the last one that is on the
	// disk and published. It is the runner's.
	number uint64
	first  uint64 // number of its first turn
	shown  *atomic.Uint64
}

// Turn is what a machine has decided since the last one was taken.
type Turn struct {
	Commit store.Commit
	// Before is done before Commit is written: it tells the readers what they will
	// no longer find.
	Before []func()
	// Relaxed answers may go out when Commit is written: what they promise is
	// covered by a later answer's sync.
	Relaxed []func()
	// Early shows the readers, before those answers, what is of open transactions
	// alone: who is told that a record is taken finds it. See Machine.changed.
	Early []func()
	// Durable answers go out when Commit, and so all before it, is on the disk.
	Durable []func()
	// Publish shows the readers what has changed, at the same time.
	Publish []func()
	// Requests are those handled in this turn, for the case that it fails.
	Requests []*Request

	number uint64
	shown  uint64        // Machine.shown when the turn ended: it may grow meanwhile
	settle []func(*Turn) // what is put together when the turn ends
}

// Load makes a machine of what the store holds. unclean says that the last
// process did not close the store, powerLost that what it had not synced may be
// gone. What Load decides (a new leader epoch, transactions that are aborted)
// is in the first turn, which is to be written before any request, if need be
// with the room that is kept for a start.
func Load(cfg Config, view *View, s State, now time.Time, unclean, powerLost bool) (*Machine, error) {
	m := &Machine{cfg: cfg, log: cfg.Logger, now: now, view: view, number: cfg.turns + 1, first: cfg.turns + 1, shown: cfg.shown, parked: map[*Request]struct{}{}}
	if m.shown == nil {
		m.shown = new(atomic.Uint64)
	}
	for _, load := range []func(State) error{
		m.loadIdentity,
		m.loadTopics,
		m.loadCompacted,
		m.loadProducers,
		m.loadGroups,
	} {
		if err := load(s); err != nil {
			return nil, err
		}
	}
	if unclean {
		m.raiseEpoch()
	}
	m.raiseGenerations(unclean)
	if powerLost {
		m.abortAll()
	}
	m.publishAll()
	m.turn.Commit.Urgent()
	return m, nil
}

// Handle takes a request. It is answered in this turn or in a later one.
func (m *Machine) Handle(now time.Time, r *Request) {
	m.now = now
	m.turn.Requests = append(m.turn.Requests, r)
	if r.work != nil {
		r.work(m)
		return
	}
	if m.readOnly != nil && m.refuse(r) {
		return
	}
	switch body := r.Body.(type) {
	case *kmsg.ProduceRequest:
		m.produce(r, body)
	case *kmsg.MetadataRequest:
		m.metadata(r, body)
	case *kmsg.OffsetCommitRequest: // 8
		m.offsetCommit(r, body)
	case *kmsg.OffsetFetchRequest: // 9
		m.offsetFetch(r, body)
	case *kmsg.FindCoordinatorRequest: // 10
		m.findCoordinator(r, body)
	case *kmsg.JoinGroupRequest: // 11
		m.joinGroup(r, body)
	case *kmsg.HeartbeatRequest: // 12
		m.heartbeat(r, body)
	case *kmsg.LeaveGroupRequest: // 13
		m.leaveGroup(r, body)
	case *kmsg.SyncGroupRequest: // 14
		m.syncGroup(r, body)
	case *kmsg.DescribeGroupsRequest: // 15
		m.describeGroups(r, body)
	case *kmsg.ListGroupsRequest: // 16
		m.listGroups(r, body)
	case *kmsg.CreateTopicsRequest: // key 19
		m.createTopics(r, body)
	case *kmsg.DeleteTopicsRequest: // 20
		m.deleteTopics(r, body)
	case *kmsg.DeleteRecordsRequest: // 21
		m.deleteRecords(r, body)
	case *kmsg.InitProducerIDRequest: // 22
		m.initProducerID(r, body)
	case *kmsg.AddPartitionsToTxnRequest: // 24
		m.addPartitionsToTxn(r, body)
	case *kmsg.AddOffsetsToTxnRequest: // 25
		m.addOffsetsToTxn(r, body)
	case *kmsg.EndTxnRequest: // 26
		m.endTxn(r, body)
	case *kmsg.WriteTxnMarkersRequest: // 27
		m.writeTxnMarkers(r, body)
	case *kmsg.TxnOffsetCommitRequest: // 28
		m.txnOffsetCommit(r, body)
	case *kmsg.DescribeConfigsRequest: // 32
		m.describeConfigs(r, body)
	case *kmsg.AlterConfigsRequest: // 33
		m.alterConfigs(r, body)
	case *kmsg.DescribeLogDirsRequest: // 35
		m.describeLogDirs(r, body)
	case *kmsg.CreatePartitionsRequest: // 37
		m.createPartitions(r, body)
	case *kmsg.DeleteGroupsRequest: // 42
		m.deleteGroups(r, body)
	case *kmsg.ElectLeadersRequest: // 43
		m.electLeaders(r, body)
	case *kmsg.IncrementalAlterConfigsRequest: // 44
		m.incrementalAlterConfigs(r, body)
	case *kmsg.AlterPartitionAssignmentsRequest: // 45
		m.alterPartitionAssignments(r, body)
	case *kmsg.ListPartitionReassignmentsRequest: // 46
		m.listPartitionReassignments(r, body)
	case *kmsg.OffsetDeleteRequest: // 47
		m.offsetDelete(r, body)
	case *kmsg.DescribeClusterRequest: // 60
		m.describeCluster(r, body)
	case *kmsg.DescribeProducersRequest: // 61
		m.describeProducers(r, body)
	case *kmsg.DescribeTransactionsRequest: // 65
		m.describeTransactions(r, body)
	case *kmsg.ListTransactionsRequest: // 66
		m.listTransactions(r, body)
	case *kmsg.ListConfigResourcesRequest: // 74
		m.listConfigResources(r, body)
	case *kmsg.DescribeTopicPartitionsRequest: // 75
		m.describeTopicPartitions(r, body)
	default:
		// The server announces nothing else.
		r.Dropped()
	}
}

// Tick does what is due by the clock.
func (m *Machine) Tick(now time.Time) {
	m.now = now
	m.timers.run(now)
}

// Due returns when Tick has something to do; false for never.
func (m *Machine) Due() (time.Time, bool) { return m.timers.due() }

// Take returns what has been decided and begins the next turn.
func (m *Machine) Take() Turn {
	t := m.turn
	t.number, t.shown = m.number, m.shown.Load()
	m.turn = Turn{}
	for _, settle := range t.settle {
		settle(&t)
	}
	m.number++
	return t
}

// durable answers r when the turn is on the disk.
func (m *Machine) durable(r *Request, resp kmsg.Response) {
	m.turn.Durable = append(m.turn.Durable, func() { r.Answer(resp) })
}

// relaxed answers r when the turn is written. It is for what tells of nothing
// that could be lost, and for what a later answer's sync covers.
func (m *Machine) relaxed(r *Request, resp kmsg.Response) {
	m.turn.Relaxed = append(m.turn.Relaxed, func() { r.Answer(resp) })
}

// park keeps a request for a later turn, in which it is unparked and answered.
func (m *Machine) park(r *Request) { m.parked[r] = struct{}{} }

// unpark is for a request that this turn answers: it is kept until the turn is
// written.
func (m *Machine) unpark(r *Request) {
	m.turn.Relaxed = append(m.turn.Relaxed, func() { delete(m.parked, r) })
}

// abandon drops the requests that are kept, for a machine that will not go on,
// but for those that are to be handled anew.
func (m *Machine) abandon(except []*Request) {
	for r := range m.parked {
		if !slices.Contains(except, r) {
			r.Dropped()
		}
	}
}

// covered answers a produce of open transactions: when the turn is written, if
// readers see the records by then.
func (m *Machine) covered(r *Request, resp kmsg.Response, parts []*partition) {
	m.turn.settle = append(m.turn.settle, func(t *Turn) {
		for _, p := range parts {
			if p.hard > t.shown {
				t.Durable = append(t.Durable, func() { r.Answer(resp) })
				return
			}
		}
		t.Relaxed = append(t.Relaxed, func() { r.Answer(resp) })
	})
}

// once returns what is asked for, each once, in order. A small request can name a
// thing a hundred thousand times, and each time have a long answer.
func once[T any, K comparable](asked []T, key func(T) K) []T {
	seen := make(map[K]struct{}, min(len(asked), 64))
	first := make([]T, 0, min(len(asked), 64))
	for _, a := range asked {
		k := key(a)
		if _, ok := seen[k]; !ok {
			seen[k] = struct{}{}
			first = append(first, a)
		}
	}
	return first
}

func itself[T any](v T) T { return v }

// code is the error code of a response; 0 for nil.
func code(err *kerr.Error) int16 {
	if err == nil {
		return 0
	}
	return err.Code
}

// text is the error message of a response; nil for none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func newID() uuid.UUID { return uuid.New() }

package stock

import (
	"fmt"
	"testing"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/streamstest"
)

// queueing is the client task alone: the test gives the answers.
type queueing struct {
	*streamstest.Driver
	t   *testing.T
	seq map[string]request // what was asked, by order
	// released is what was reserved for refused orders, since the last time.
	released []string
	// left counts the entries of the task's stores, per minute of the clock.
	left int
}

func newQueueing(t *testing.T) *queueing {
	q := &queueing{t: t, seq: map[string]request{}}
	q.Driver = streamstest.New(t, App, func(b *streams.Builder) {
		s, _, _, answers := newStage(b, Config{})
		s.clientTask(streams.From(b, event.Orders), answers)
		b.WallClock("left", time.Minute, func(c *streams.Context, _ time.Time) {
			s.queues.Scan(c, func(event.ID, queue) bool { q.left++; return true })
			s.waiting.Scan(c, func(place, *pending) bool { q.left++; return true })
			s.gathered.Scan(c, func(place, gathered) bool { q.left++; return true })
		}, s.queues, s.waiting, s.gathered)
		b.WallClock("as of old", time.Hour, func(c *streams.Context, _ time.Time) {
			s.queues.Scan(c, func(client event.ID, qu queue) bool {
				s.gathered.Put(c, place{client, qu.Head}, qu.Got)
				qu.Got, qu.Apart = gathered{}, true
				s.queues.Put(c, client, qu)
				return true
			})
		}, s.queues, s.gathered)
	})
	return q
}

// TestQueueOfAnOlderVersion goes on with a queue that was stored when the answers
// to its first order still stood in a store of their own.
func TestQueueOfAnOlderVersion(t *testing.T) {
	q := newQueueing(t)
	q.order("C", lines("1", "L", "a", 1, 1, "b", 1, 1))
	q.answer("1", answerReserved, 0)
	q.Advance(time.Hour)
	q.Restart()
	q.order("C", lines("2", "L", "a", 1, 1))
	q.Restart()
	q.entries(3) // the queue, the answers to its first order, the second order
	q.answer("1", answerShort, 0)
	q.expect() // it was answered before
	q.answer("1", answerReserved, 1)
	q.expect("1 VALIDE")
	q.Restart()
	q.answer("2", answerReserved, 0)
	q.expect("2 VALIDE")
	q.entries(0)
}

// entries checks how many entries the stores of the client task hold.
func (q *queueing) entries(want int) {
	q.t.Helper()
	q.left = 0
	q.Advance(time.Minute)
	if q.left != want {
		q.t.Errorf("the stores hold %d entries, want %d", q.left, want)
	}
}

func (q *queueing) order(client, value string) {
	q.t.Helper()
	q.Pipe(event.TopicOrders, client, value)
	q.asked()
}

// asked takes in what identity is asked and told.
func (q *queueing) asked() {
	q.t.Helper()
	for _, r := range q.Read(topicRequests) {
		v, err := parseRequest(r.Value)
		switch {
		case err != nil:
			q.t.Fatal(err)
		case v.Kind == requestOrder:
			q.seq[string(r.Key)] = v
		case v.Kind == requestShort:
			for _, p := range v.Parts {
				q.released = append(q.released, fmt.Sprintf("release %d %s of %s", p.Quantity, p.Product, r.Key))
			}
		default:
			q.t.Fatalf("request %+v", v)
		}
	}
}

func (q *queueing) answer(order string, kind answerKind, part int) {
	q.t.Helper()
	v := q.seq[order]
	q.PipeRaw(streams.RawRecord{
		Topic: topicAnswers, Partition: v.Partition, Key: []byte(v.Client),
		Value: appendAnswer(nil, answer{Kind: kind, Seq: v.Seq, Part: part}),
	})
}

// expect compares the verdicts, errors and releases written since the last time.
func (q *queueing) expect(want ...string) {
	q.t.Helper()
	var got []string
	for _, r := range q.Read(event.TopicVerdicts) {
		v, err := event.ParseVerdict(r.Value)
		if err != nil {
			q.t.Fatal(err)
		}
		got = append(got, short(v))
	}
	for _, r := range q.Read(event.TopicErrors) {
		e, err := event.ParseErrorRecord(r.Value)
		if err != nil {
			q.t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s", e.Order, e.Problems[0].Code))
	}
	q.asked()
	got = append(got, q.released...)
	q.released = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		q.t.Errorf("%q, want %q", got, want)
	}
}

func TestVerdictsWaitForEarlierOrders(t *testing.T) {
	q := newQueueing(t)
	q.order("C", lines("1", "L", "a", 1, 1, "b", 1, 1))
	q.order("C", lines("2", "L", "a", 1, 1))
	q.order("D", lines("3", "L", "a", 1, 1))
	q.order("C", lines("4", "L", "a", 1, 1))
	q.order("C", lines("5", "L", "a", 1, 1, "b", 1, 1, "c", 1, 1))
	q.order("C", lines("6", "L", "a", 1, 1))
	q.order("C", lines("7", "L", "a", 1, 1))
	q.expect()
	q.answer("3", answerReserved, 0)
	q.expect("3 VALIDE")
	q.answer("5", answerReserved, 2)
	q.answer("5", answerShort, 0)
	q.answer("7", answerReserved, 0)
	q.answer("4", answerAgain, 0)
	q.expect()
	q.entries(6 + 3) // a queue, five orders behind its first, and answers to 4, 5 and 7
	q.Restart()
	q.answer("6", answerConflict, 0)
	q.expect("6 COMMANDE_EN_CONFLIT")
	q.answer("1", answerReserved, 1)
	q.answer("5", answerReserved, 1)
	q.expect()
	q.answer("1", answerReserved, 0)
	q.expect("1 VALIDE")
	q.Restart()
	q.answer("2", answerReserved, 0)
	q.expect("2 VALIDE", "5 REFUSE STOCK_INSUFFISANT", "7 VALIDE", "release 1 b of 5", "release 1 c of 5")

	q.entries(0)

	// The queue begins anew.
	q.order("C", lines("8", "L", "a", 1, 1))
	q.answer("8", answerReserved, 0)
	q.expect("8 VALIDE")
	if got := q.Counted("unfit"); got != 0 {
		t.Errorf("%d answers did not fit", got)
	}
}

func TestAnswersThatDoNotFit(t *testing.T) {
	q := newQueueing(t)
	q.order("C", lines("1", "L", "a", 1, 1, "b", 1, 1))
	q.order("C", lines("2", "L", "a", 1, 1))
	q.answer("2", answerReserved, 0)
	q.answer("2", answerReserved, 0) // answered already
	q.answer("2", answerAgain, 0)
	q.answer("1", answerReserved, 2) // no such part
	q.answer("1", answerReserved, 1)
	q.answer("1", answerShort, 1) // answered already
	q.expect()
	q.answer("1", answerReserved, 0)
	q.expect("1 VALIDE", "2 VALIDE")
	q.answer("1", answerReserved, 0) // no queue any more
	q.answer("2", answerConflict, 0)
	q.order("C", lines("3", "L", "a", 1, 1))
	q.answer("2", answerReserved, 0) // no such place
	q.expect()
	q.answer("3", answerReserved, 0)
	q.expect("3 VALIDE")
	if got := q.Counted("unfit"); got != 7 {
		t.Errorf("%d answers did not fit, want 7", got)
	}
}

func TestSingleLineMeaningIsKept(t *testing.T) {
	q := newQueueing(t)
	q.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"PC Gamer"}`)
	q.order("C", seed)
	q.order("C", `{"commandeId":992,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`)
	q.Pipe(event.TopicProducts, "1001", `{"id_produit":1001,"nom_produit":"Autre"}`)
	q.Restart()
	for _, id := range []string{"991", "992"} {
		if p := q.seq[id].Parts; len(p) != 1 || p[0] != (part{"1001", 1}) {
			t.Errorf("order %s asks for %v", id, p)
		}
		q.answer(id, answerReserved, 0)
	}
	for _, r := range q.Read(event.TopicVerdicts) {
		v, err := event.ParseVerdict(r.Value)
		if err != nil || v.Lines[0].Product != "1001" {
			t.Errorf("verdict %s, %v", r.Value, err)
		}
	}
}

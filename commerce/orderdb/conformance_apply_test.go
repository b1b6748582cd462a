package orderdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/commerce/event"
)

// change is what a record at an offset says of an order, at that millisecond.
func change(id, topic string, offset int64, state State) OrderChange {
	return OrderChange{ID: event.ID(id), State: state, Entry: Entry{Topic: topic, Partition: 0, Offset: offset, Time: later(int(offset))}}
}

// with gives a change the content of an order.
func with(c OrderChange, content string) OrderChange {
	c.Content = &Content{Digest: digest(content), Client: event.ID("CLI-" + content[:min(len(content), 40)]), Value: []byte(content), At: c.Entry.Time}
	return c
}

func apply(t testing.TB, db DB, changes ...OrderChange) {
	t.Helper()
	if err := db.Apply(t.Context(), Batch{Orders: changes}); err != nil {
		t.Fatal(err)
	}
}

func TestApplyWholeOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		verdict := change("1", event.TopicVerdicts, 3, Reserved)
		verdict.Verdict, verdict.Client = []byte(`{"statut":"VALIDE"}`), "other"
		invoice := change("1", event.TopicInvoices, 5, Invoiced)
		invoice.Invoice = "FA-2026-000001"
		alert := change("1", event.TopicErrors, 2, Unknown)
		alert.Alerts, alert.Accused = []string{"PRIX_INATTENDU", "MONTANT_ELEVE"}, digest("a")
		apply(t, db, with(change("1", event.TopicOrders, 1, Received), "a"), alert, verdict, change("1", event.TopicAccepted, 4, Paid))
		apply(t, db, invoice, change("1", event.TopicConfirmations, 6, Invoiced))
		again := change("1", event.TopicErrors, 7, Unknown)
		again.Alerts, again.Accused = []string{"MONTANT_ELEVE", "FREQUENCE_ELEVEE"}, digest("a")
		apply(t, db, change("1", event.TopicNotifications, 8, Notified), again)

		o := get(t, db, "1")
		equal(t, "order", o, Order{ID: "1", Number: o.Number, State: Notified, Client: "CLI-a", Digest: digest("a"), Value: []byte("a"),
			Verdict: verdict.Verdict, Invoice: "FA-2026-000001", Alerts: []string{"FREQUENCE_ELEVEE", "MONTANT_ELEVE", "PRIX_INATTENDU"},
			At: later(1), Updated: later(8), Changes: 8})
		entries, err := db.Timeline(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		var topics []string
		for _, e := range entries {
			topics = append(topics, e.Topic)
		}
		equal(t, "timeline", topics, []string{event.TopicOrders, event.TopicErrors, event.TopicVerdicts, event.TopicAccepted, event.TopicInvoices,
			event.TopicConfirmations, event.TopicErrors, event.TopicNotifications})
	})
}

// TestContents: which content of an id is shown, whatever comes first.
func TestContents(t *testing.T) {
	type want struct {
		state   State
		content string // "" for none
		reason  string
	}
	won := with(change("1", event.TopicOrders, 1, Received), "won")
	lost := with(change("1", event.TopicOrders, 2, Received), "lost")
	accused := with(change("1", event.TopicErrors, 3, InConflict), "lost")
	accused.Reason = "COMMANDE_EN_CONFLIT"
	rejected := change("1", event.TopicErrors, 4, Rejected)
	rejected.Reason = "MONTANT_INVALIDE"
	reserved := change("1", event.TopicVerdicts, 5, Reserved)
	stockRefused := change("1", event.TopicVerdicts, 5, StockRefused)
	stockRefused.Reason = "STOCK_INSUFFISANT"
	elsewhere := change("1", event.TopicMovements, 6, Unknown)
	elsewhere.Client = "CLI-x"
	cases := map[string]struct {
		http    string // content placed by HTTP before
		changes []OrderChange
		want    want
	}{
		"received":                     {"", []OrderChange{won}, want{Received, "won", ""}},
		"winner first":                 {"", []OrderChange{won, lost, accused}, want{Received, "won", ""}},
		"loser first":                  {"", []OrderChange{lost, won, accused}, want{Received, "won", ""}},
		"accusation first":             {"", []OrderChange{accused, won, lost}, want{Received, "won", ""}},
		"accusation between":           {"", []OrderChange{lost, accused, won}, want{Received, "won", ""}},
		"only the loser known":         {"", []OrderChange{lost, accused}, want{InConflict, "lost", "COMMANDE_EN_CONFLIT"}},
		"only the accusation known":    {"", []OrderChange{accused}, want{InConflict, "lost", "COMMANDE_EN_CONFLIT"}},
		"loser by HTTP":                {"lost", []OrderChange{accused}, want{InConflict, "lost", "COMMANDE_EN_CONFLIT"}},
		"loser by HTTP, winner later":  {"lost", []OrderChange{accused, reserved, won}, want{Reserved, "won", ""}},
		"winner's verdict, loser seen": {"lost", []OrderChange{reserved, accused, won}, want{Reserved, "won", ""}},
		"rejected":                     {"", []OrderChange{rejected}, want{Rejected, "", "MONTANT_INVALIDE"}},
		"rejected, then received":      {"", []OrderChange{rejected, won}, want{Received, "won", ""}},
		"received, then rejected":      {"", []OrderChange{won, rejected}, want{Received, "won", ""}},
		"rejected and in conflict":     {"", []OrderChange{accused, rejected}, want{InConflict, "lost", "COMMANDE_EN_CONFLIT"}},
		"stock refused":                {"", []OrderChange{won, stockRefused, rejected}, want{StockRefused, "won", "STOCK_INSUFFISANT"}},
		"refused before rejected":      {"", []OrderChange{rejected, stockRefused}, want{StockRefused, "", "STOCK_INSUFFISANT"}},
		"nothing of the state":         {"", []OrderChange{elsewhere}, want{Unknown, "", ""}},
	}
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		offset := int64(0)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				// In one batch, and one by one.
				for i, size := range []int{len(c.changes), 1} {
					id := event.ID(fmt.Sprint(name, i))
					if c.http != "" {
						submit(t, db, order(string(id), "", c.http), Created)
					}
					for batch := range slices.Chunk(c.changes, size) {
						batch = slices.Clone(batch)
						for i := range batch {
							offset++
							batch[i].ID, batch[i].Entry.Offset = id, offset
						}
						apply(t, db, batch...)
					}
					o := get(t, db, string(id))
					if o.State != c.want.state || o.Reason != c.want.reason {
						t.Errorf("state %s with reason %q, want %s with %q", o.State, o.Reason, c.want.state, c.want.reason)
					}
					switch {
					case c.want.content == "":
						if o.Value != nil || o.Digest != [16]byte{} || !o.At.IsZero() {
							t.Errorf("content %+v, want none", o)
						}
					case o.Digest != digest(c.want.content), o.Value == nil:
						t.Errorf("content %s, want %s", o.Value, c.want.content)
					}
				}
			})
		}
	})
}

// TestAlerts: those of the order that counts are shown, whatever else wanted its
// id and whatever was seen first.
func TestAlerts(t *testing.T) {
	alert := func(offset int64, content, code string) OrderChange {
		c := change("1", event.TopicErrors, offset, Unknown)
		c.Alerts, c.Accused = []string{code}, digest(content)
		return c
	}
	// Orders of this size are left out of what accuses them.
	large := func(name string) string { return name + strings.Repeat("x", event.MaxErrorRecord) }
	at := func(offset, origin int64, code string) OrderChange {
		c := change("1", event.TopicErrors, offset, Unknown)
		c.Alerts, c.Origin = []string{code}, Entry{Topic: event.TopicOrders, Offset: origin}
		return c
	}
	accused := with(change("1", event.TopicErrors, 30, InConflict), "lost")
	largeAccused := with(change("1", event.TopicErrors, 31, InConflict), large("lost"))
	for name, c := range map[string]struct {
		changes []OrderChange
		want    []string
		updated int
	}{
		"the winner's": {[]OrderChange{with(change("1", event.TopicOrders, 1, Received), "won"), with(change("1", event.TopicOrders, 2, Received), "lost"),
			accused, alert(10, "won", "W"), alert(11, "lost", "L")}, []string{"W"}, 10},
		"only the loser's": {[]OrderChange{with(change("1", event.TopicOrders, 1, Received), "won"), accused, alert(11, "lost", "L")}, nil, 1},
		"by origin": {[]OrderChange{with(change("1", event.TopicOrders, 1, Received), large("won")), with(change("1", event.TopicOrders, 2, Received), large("lost")),
			largeAccused, at(10, 1, "W"), at(11, 2, "L"), at(12, 3, "?")}, []string{"W"}, 10},
		"by origin and by content": {[]OrderChange{with(change("1", event.TopicOrders, 1, Received), large("won")), at(10, 1, "B"), alert(11, large("won"), "A"),
			alert(12, large("won"), "B")}, []string{"A", "B"}, 12},
		"of no known order": {[]OrderChange{alert(11, "lost", "L")}, nil, 11},
		"nothing wins":      {[]OrderChange{accused, alert(11, "lost", "L")}, []string{"L"}, 30},
		"no word of the order itself": {[]OrderChange{with(change("1", event.TopicOrders, 1, Received), "won"), change("1", event.TopicVerdicts, 5, Reserved),
			accused, change("1", event.TopicErrors, 40, Rejected), change("1", event.TopicOrders, 41, Unknown), alert(42, "lost", "L")}, nil, 5},
		"rejected only": {[]OrderChange{change("1", event.TopicOrders, 39, Unknown), change("1", event.TopicErrors, 40, Rejected)}, nil, 40},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p place) {
				db := p.open(t)
				for run := range 4 {
					id := event.ID(fmt.Sprint(run))
					for _, i := range rand.Perm(len(c.changes)) {
						one := c.changes[i]
						one.ID = id
						apply(t, db, one)
					}
					o := get(t, db, string(id))
					if !slices.Equal(o.Alerts, c.want) || !o.Updated.Equal(later(c.updated)) {
						t.Errorf("alerts %q at %v, want %q at %v", o.Alerts, o.Updated, c.want, later(c.updated))
					}
					list, err := db.Orders(t.Context(), Filter{Limit: 1})
					equal(t, "the list", []any{list, err}, []any{[]Order{o}, nil})
				}
			})
		})
	}
}

// TestSubmitMeetsRecords: requests for ids that tracking knows.
func TestSubmitMeetsRecords(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		apply(t, db, with(change("received", event.TopicOrders, 1, Received), "a"),
			change("rejected", event.TopicErrors, 2, Rejected),
			with(change("lost", event.TopicErrors, 3, InConflict), "a"))
		submit(t, db, order("received", "", "a"), Same)
		submit(t, db, order("received", "", "b"), Conflict)
		submit(t, db, order("lost", "", "a"), Conflict)
		submit(t, db, order("rejected", "", "a"), Created)
		o := get(t, db, "rejected")
		if o.State != Received || o.Client != "CLI-rejected" || o.Changes != 2 {
			t.Errorf("order is %+v", o)
		}
		// The order's own record changes nothing that is shown.
		apply(t, db, with(change("rejected", event.TopicOrders, 4, Received), "a"))
		after := get(t, db, "rejected")
		o.Changes = 3
		equal(t, "order after its record", after, o)
		if n := len(unsent(t, db)); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
	})
}

func TestPositions(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		orders, errs := Partition{event.TopicOrders, 0}, Partition{event.TopicErrors, 2}
		id, other := [16]byte{1}, [16]byte{2}
		move := func(from, to map[Partition]Position, changes ...OrderChange) error {
			return db.Apply(t.Context(), Batch{From: from, To: to, Orders: changes})
		}
		at := func(next int64) map[Partition]Position { return map[Partition]Position{orders: {id, next}} }
		if err := move(map[Partition]Position{orders: {}}, at(5), change("1", event.TopicOrders, 4, Unknown)); err != nil {
			t.Fatal(err)
		}
		// The same again, from elsewhere, with another topic id, with one of two
		// partitions elsewhere: nothing is done.
		for _, from := range []map[Partition]Position{{}, at(4), {orders: {other, 5}}, {orders: {id, 5}, errs: {id, 1}}} {
			to := map[Partition]Position{orders: {id, 9}}
			if err := move(from, to, change("1", event.TopicOrders, 8, Paid), change("2", event.TopicOrders, 9, Paid)); !errors.Is(err, ErrMoved) {
				t.Errorf("from %v: %v, want ErrMoved", from, err)
			}
		}
		if o := get(t, db, "1"); o.State != Unknown || o.Changes != 1 {
			t.Errorf("a batch from elsewhere changed the order: %+v", o)
		}
		if _, ok, _ := db.Order(t.Context(), "2"); ok {
			t.Error("a batch from elsewhere made an order")
		}
		if err := move(at(5), map[Partition]Position{orders: {other, 1}}); err != nil {
			t.Fatal(err)
		}
		got, err := db.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "positions", got, map[Partition]Position{orders: {other, 1}})
	})
}

func TestForget(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		apply(t, db, change("1", event.TopicOrders, 1, Unknown), change("1", event.TopicOrders, 7, Unknown), change("1", event.TopicErrors, 9, Unknown),
			change("2", event.TopicOrders, 2, Unknown))
		// Told again, an entry stays one.
		apply(t, db, change("1", event.TopicOrders, 7, Unknown))
		orders := Partition{event.TopicOrders, 0}
		if err := db.Forget(t.Context(), orders, Position{[16]byte{1}, 2}); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[event.ID]int{"1": 2, "2": 0} {
			entries, err := db.Timeline(t.Context(), id)
			if err != nil || len(entries) != want {
				t.Errorf("order %s has entries %v (%v), want %d", id, entries, err, want)
			}
		}
		changes, err := db.Changes(t.Context(), []event.ID{"1", "2", "3"})
		equal(t, "changes", []any{changes, err}, []any{map[event.ID]int64{"1": 5, "2": 2}, nil})
		positions, err := db.Positions(t.Context())
		equal(t, "positions", []any{positions, err}, []any{map[Partition]Position{orders: {[16]byte{1}, 2}}, nil})
	})
}

func TestTimelineOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		// All in one millisecond, but the last.
		want := []Entry{
			{event.TopicOrders, 0, 9, start}, {event.TopicOrders, 1, 3, start}, {event.TopicOrders, 1, 4, start}, {event.TopicErrors, 0, 8, start},
			{event.TopicMovements, 2, 7, start}, {event.TopicVerdicts, 0, 1, start}, {event.TopicAccepted, 0, 1, start}, {event.TopicRefused, 0, 1, start},
			{event.TopicInvoices, 0, 1, start}, {event.TopicConfirmations, 0, 1, start}, {event.TopicNotifications, 0, 1, start},
			{"un.autre", 0, 1, start}, {event.TopicOrders, 0, 10, later(1)},
		}
		var changes []OrderChange
		for _, i := range rand.Perm(len(want)) {
			changes = append(changes, OrderChange{ID: "1", Entry: want[i]})
		}
		apply(t, db, changes...)
		got, err := db.Timeline(t.Context(), "1")
		equal(t, "timeline", []any{got, err}, []any{want, nil})
		if got, err := db.Timeline(t.Context(), "2"); len(got) != 0 || err != nil {
			t.Errorf("timeline of an unknown order: %v, %v", got, err)
		}
	})
}

// TestFailedBatch: a batch that fails leaves nothing, not even what it was told
// of new topics.
func TestFailedBatch(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		bad := Batch{Orders: []OrderChange{change("1", "nouveau.sujet", 1, Unknown)}, Levels: []Level{{Product: "p", Available: 1}}}
		bad.From = map[Partition]Position{{"nouveau.sujet", 0}: {Next: 7}}
		if err := db.Apply(t.Context(), bad); !errors.Is(err, ErrMoved) {
			t.Fatal(err)
		}
		if _, ok, _ := db.Product(t.Context(), "p"); ok {
			t.Error("a failed batch made a product")
		}
		bad.From = nil
		if err := db.Apply(t.Context(), bad); err != nil {
			t.Fatal(err)
		}
		entries, err := db.Timeline(t.Context(), "1")
		equal(t, "timeline", []any{entries, err}, []any{[]Entry{{"nouveau.sujet", 0, 1, later(1)}}, nil})
	})
}

// TestMore: records that join a change are indexed, counted and timed as if they
// stood alone, also in a topic that nothing else is about.
func TestMore(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		c := change("1", event.TopicAccepted, 4, Notified)
		c.More = []Entry{{"un.autre", 2, 9, later(9)}, {event.TopicErrors, 0, 1, later(20)}}
		apply(t, db, c)
		o := get(t, db, "1")
		if o.State != Notified || o.Changes != 3 || !o.Updated.Equal(later(9)) {
			t.Errorf("order %+v", o)
		}
		got, err := db.Timeline(t.Context(), "1")
		if want := append([]Entry{c.Entry}, c.More...); err != nil || !slices.Equal(got, want) {
			t.Errorf("timeline %v, not %v (%v)", got, want, err)
		}
	})
}

func TestProjections(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		batch := func(b Batch) {
			t.Helper()
			if err := db.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		batch(Batch{Levels: []Level{{"p2", "moved", 5, 0}, {"p1", "", 1, 0}, {"p2", "renamed", 4, 1}}})
		batch(Batch{Levels: []Level{{"p1", "later", 2, 2}}, Products: []event.Product{{ID: "p2", Name: "catalogue", Price: 150, HasPrice: true}, {ID: "10", Name: "ten"}}})
		batch(Batch{Levels: []Level{{"p2", "moved", 3, 2}}})
		all := []Product{{ID: "10", Name: "ten"}, {ID: "p1", Name: "later", Available: 2, Reserved: 2},
			{ID: "p2", Name: "catalogue", Price: 150, HasPrice: true, Available: 3, Reserved: 2}}
		got, err := db.Products(t.Context(), "", 10)
		equal(t, "products", []any{got, err}, []any{all, nil})
		got, err = db.Products(t.Context(), "10", 1)
		equal(t, "the page behind 10", []any{got, err}, []any{all[1:2], nil})
		// Known from movements alone it is not in the catalogue yet.
		submit(t, db, Submission{Product: &event.Product{ID: "p1", Name: "put"}, At: start}, Created)
		submit(t, db, Submission{Product: &event.Product{ID: "p2", Name: "put"}, At: start}, Same)
		if _, ok, err := db.Product(t.Context(), "none"); ok || err != nil {
			t.Errorf("an unknown product: %v, %v", ok, err)
		}
	})
}

func TestOrders(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		for i := range 20 {
			s := order(fmt.Sprint(i), "", "a")
			s.Order.Client = event.ID(fmt.Sprint("client ", i%2))
			submit(t, db, s, Created)
		}
		apply(t, db, change("3", event.TopicVerdicts, 1, Reserved), change("4", event.TopicVerdicts, 2, Reserved))
		number := get(t, db, "10").Number
		for _, c := range []struct {
			f    Filter
			want []string
		}{
			{Filter{Limit: 3}, []string{"19", "18", "17"}},
			{Filter{Limit: 2, Before: number}, []string{"9", "8"}},
			{Filter{Limit: 9, State: Reserved}, []string{"4", "3"}},
			{Filter{Limit: 2, Client: "client 1", Before: number}, []string{"9", "7"}},
			{Filter{Limit: 9, Client: "client 1", State: Reserved}, []string{"3"}},
			{Filter{Limit: 9, Client: "client 2"}, nil},
		} {
			got, err := db.Orders(t.Context(), c.f)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, o := range got {
				ids = append(ids, string(o.ID))
				if !slices.Equal(o.Value, order(string(o.ID), "", "a").Order.Value) {
					t.Errorf("value of %s is %s", o.ID, o.Value)
				}
			}
			equal(t, fmt.Sprintf("%+v", c.f), ids, c.want)
		}
	})
}

// TestHostileText: what stands in records that anyone may write reaches no
// database as text it cannot hold.
func TestHostileText(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		db := p.open(t)
		c := change("1", event.TopicVerdicts, 1, StockRefused)
		c.Reason, c.Invoice, c.Verdict = "a\x00b\xff", "\x00", []byte("\x00\xff")
		alert := change("1", event.TopicErrors, 2, Unknown)
		alert.Alerts, alert.Accused = []string{"\x00x", ""}, digest("a")
		elsewhere := alert
		elsewhere.Accused, elsewhere.Origin.Topic = [16]byte{}, "\x00\xff"
		if err := db.Apply(t.Context(), Batch{Orders: []OrderChange{with(change("1", event.TopicOrders, 0, Received), "a"), c, alert, elsewhere}, Levels: []Level{{Product: "p", Name: "n\x00"}}}); err != nil {
			t.Fatal(err)
		}
		o := get(t, db, "1")
		equal(t, "texts", []any{o.Reason, o.Invoice, o.Alerts, o.Verdict}, []any{"ab\uFFFD", "", []string{"x"}, []byte("\x00\xff")})
	})
}

// history is what topics say of some orders, by partition, each in its order.
func history(rng *rand.Rand, orders int) [][]OrderChange {
	partitions := make([][]OrderChange, 9)
	add := func(p int, c OrderChange) {
		c.Entry.Partition = int32(p)
		c.Entry.Offset = int64(len(partitions[p]))
		c.Entry.Time = later(rng.IntN(1000))
		if c.Content != nil {
			c.Content.At = later(int(c.Content.Digest[0])) // of the content, not of who tells it
		}
		partitions[p] = append(partitions[p], c)
	}
	for i := range orders {
		id := fmt.Sprint("o", i)
		reason := func(c OrderChange, reason string) OrderChange { c.Reason = reason; return c }
		alert := func(c OrderChange, content, code string) OrderChange {
			c.Alerts, c.Accused = []string{code}, digest(content)
			return c
		}
		if rng.IntN(3) == 0 {
			add(rng.IntN(2)+2, alert(change(id, event.TopicErrors, 0, Unknown), id+"lost0", fmt.Sprint("L", rng.IntN(3))))
		}
		for range rng.IntN(2) {
			add(rng.IntN(2)+2, reason(change(id, event.TopicErrors, 0, Rejected), fmt.Sprint("R", rng.IntN(3))))
		}
		if rng.IntN(5) == 0 {
			continue
		}
		add(rng.IntN(2), with(change(id, event.TopicOrders, 0, Received), id+"won"))
		for n := range rng.IntN(3) {
			lost := fmt.Sprint(id, "lost", n)
			add(rng.IntN(2), with(change(id, event.TopicOrders, 0, Received), lost))
			add(rng.IntN(2)+2, reason(with(change(id, event.TopicErrors, 0, InConflict), lost), "COMMANDE_EN_CONFLIT"))
		}
		if rng.IntN(3) == 0 {
			add(rng.IntN(2)+2, alert(change(id, event.TopicErrors, 0, Unknown), id+"won", fmt.Sprint("A", rng.IntN(3))))
		}
		c := change(id, event.TopicVerdicts, 0, Reserved)
		c.Verdict, c.Client = []byte(id), "CLI-verdict"
		if rng.IntN(4) == 0 {
			c.State, c.Reason = StockRefused, "STOCK"
			add(4, c)
			continue
		}
		add(4, c)
		if rng.IntN(4) == 0 {
			add(5, reason(change(id, event.TopicRefused, 0, PaymentRefused), "PLAFOND"))
			continue
		}
		add(6, change(id, event.TopicAccepted, 0, Paid))
		c = change(id, event.TopicInvoices, 0, Invoiced)
		c.Invoice = "FA-" + id
		add(7, c)
		add(8, change(id, event.TopicNotifications, 0, Notified))
	}
	return partitions
}

// TestAnyOrder: whatever the order in which topics are read, and in whatever
// batches, the orders come out the same.
func TestAnyOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		const orders = 60
		partitions := history(rand.New(rand.NewPCG(seed, 0)), orders)
		var first map[event.ID]Order
		var firstLines map[event.ID][]Entry
		for run := range 6 {
			if p.shared {
				p = postgresPlace(t)
			} else {
				p = sqlitePlace(t)
			}
			db := p.open(t)
			rng := rand.New(rand.NewPCG(seed, uint64(run)+1))
			next := make([]int, len(partitions))
			var batch []OrderChange
			left := 0
			for _, p := range partitions {
				left += len(p)
			}
			for size := 1 + rng.IntN(60); left > 0; {
				// Some runs read one partition far ahead of the others.
				i := rng.IntN(len(partitions))
				n := 1 + rng.IntN(1+run*40)
				for ; n > 0 && next[i] < len(partitions[i]); n-- {
					batch = append(batch, partitions[i][next[i]])
					next[i]++
					left--
				}
				if len(batch) >= size || left == 0 {
					apply(t, db, batch...)
					batch, size = nil, 1+rng.IntN(60)
				}
			}
			all, lines := make(map[event.ID]Order), make(map[event.ID][]Entry)
			for i := range orders {
				id := event.ID(fmt.Sprint("o", i))
				o, ok, err := db.Order(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					continue
				}
				o.Number = 0 // is by arrival
				all[id] = o
				if lines[id], err = db.Timeline(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			if first == nil {
				first, firstLines = all, lines
				continue
			}
			for id, o := range first {
				equal(t, fmt.Sprintf("run %d: order %s", run, id), all[id], o)
				equal(t, fmt.Sprintf("run %d: timeline of %s", run, id), lines[id], firstLines[id])
			}
			if len(all) != len(first) {
				t.Errorf("run %d: %d orders, want %d", run, len(all), len(first))
			}
		}
	})
}

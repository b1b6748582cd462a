package invariants

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/test/orders"
)

// The public topics that are checked.
const (
	topicOrders     = "commandes.ecommerce"
	topicErrors     = "commandes.erreurs"
	topicVerdicts   = "stock.verifie"
	topicMovements  = "stock-mis-a-jour"
	topicAccepted   = "paiement-accepte"
	topicRefused    = "paiement-refuse"
	topicConfirmed  = "commande-validee"
	topicInvoices   = "factures.ecommerce"
	topicNotices    = "notifications.clients"
	topicCatalogue  = "catalogue.produits"
	topicSupplies   = "stock.approvisionnements"
	connectorPrefix = "connect-"
)

var topics = []string{topicOrders, topicErrors, topicVerdicts, topicMovements, topicAccepted, topicRefused, topicConfirmed,
	topicInvoices, topicNotices, topicCatalogue, topicSupplies}

// inputs are the public topics that each service must have read to their end.
var inputs = map[string][]string{
	"detection-anomalies":  {topicOrders},
	"service-stock":        {topicOrders, topicRefused, topicConfirmed, topicSupplies},
	"service-paiement":     {topicVerdicts},
	"service-facturation":  {topicVerdicts, topicAccepted},
	"service-notification": {topicInvoices, topicVerdicts, topicRefused},
}

// ours says whether a group belongs to the pipeline.
func ours(group string) bool {
	_, service := inputs[group]
	return service || strings.HasPrefix(group, "service-") || strings.HasPrefix(group, connectorPrefix)
}

// readTopics reads all committed records up to the present ends.
func readTopics(ctx context.Context, brokers string) (map[string][]Record, error) {
	client, err := orders.NewClient(brokers, kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("end offsets: %w", err)
	}
	type partition struct {
		topic string
		id    int32
	}
	left := map[partition]int64{}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			left[partition{o.Topic, o.Partition}] = o.Offset
			if from[o.Topic] == nil {
				from[o.Topic] = map[int32]kgo.Offset{}
			}
			from[o.Topic][o.Partition] = kgo.NewOffset().AtStart()
		}
	})
	read := map[string][]Record{}
	client.AddConsumePartitions(from)
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read topics: %w (to their ends are left: %v)", err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := partition{r.Topic, r.Partition}
			end, open := left[p]
			if open && r.Offset+1 >= end {
				delete(left, p) // the last may be a control record
			}
			if open && r.Offset < end && !r.Attrs.IsControl() {
				read[r.Topic] = append(read[r.Topic], fromKafka(r))
			}
		})
	}
	for _, records := range read {
		slices.SortFunc(records, func(a, b Record) int {
			return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
		})
	}
	return read, nil
}

func fromKafka(r *kgo.Record) Record {
	record := Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp.UTC()}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, orders.Header{Key: h.Key, Value: h.Value})
	}
	return record
}

// readPositions asks where our groups stand: in what they have committed
// anything of, and in what they must have read.
func readPositions(ctx context.Context, brokers string) ([]Position, error) {
	client, err := orders.NewClient(brokers)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return positions(ctx, kadm.NewClient(client))
}

func positions(ctx context.Context, admin *kadm.Client) (found []Position, err error) {
	listed, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	names := map[string]bool{}
	for group := range inputs {
		names[group] = true
	}
	for group := range listed {
		if ours(group) {
			names[group] = true
		}
	}
	// Few requests, since a test looks again and again.
	committed := admin.FetchManyOffsets(ctx, slices.Collect(maps.Keys(names))...)
	read := map[string][]string{} // by group
	var all []string
	for group := range names {
		c := committed[group]
		if c.Err != nil {
			return nil, fmt.Errorf("offsets of group %s: %w", group, c.Err)
		}
		list := slices.Clone(inputs[group])
		for topic := range c.Fetched {
			list = append(list, topic)
		}
		slices.Sort(list)
		read[group] = slices.Compact(list)
		all = append(all, read[group]...)
	}
	slices.Sort(all)
	ends, err := admin.ListEndOffsets(ctx, slices.Compact(all)...)
	if err != nil {
		return nil, fmt.Errorf("end offsets: %w", err)
	}
	for group, list := range read {
		for _, topic := range list {
			for _, o := range ends[topic] {
				if o.Err != nil {
					continue // deleted, or not there yet
				}
				p := Position{Group: group, Topic: o.Topic, Partition: o.Partition, Committed: -1, End: o.Offset}
				if c, ok := committed[group].Fetched.Lookup(o.Topic, o.Partition); ok && c.Err == nil {
					p.Committed = c.At
				}
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, func(a, b Position) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return found, nil
}

// Settle returns once there is nothing more to come: every group stands at the
// end of what it reads, the connector has read invoices if an archive is
// given, and several looks in a row found the same ends. If ctx ends before,
// the error names what was still open.
func Settle(ctx context.Context, cfg Config) error {
	client, err := orders.NewClient(cfg.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	const looks = 5
	var (
		last   []Position
		same   int
		behind []string
	)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := positions(ctx, admin)
		if err == nil {
			if behind = open(now, cfg.Archive != "", cfg.Connector); len(behind) == 0 && slices.Equal(now, last) {
				if same++; same == looks {
					return nil
				}
			} else {
				same = 0
			}
			last = now
		} else if ctx.Err() == nil {
			same, behind = 0, []string{err.Error()} // a broker that is down comes back
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not at rest: %w; open: %s", ctx.Err(), strings.Join(behind, "; "))
		case <-tick.C:
		}
	}
}

// open lists the positions that are not at the end.
func open(now []Position, archived bool, connector string) (behind []string) {
	reads := false
	for _, p := range now {
		name, ok := strings.CutPrefix(p.Group, connectorPrefix)
		reads = reads || ok && p.Topic == topicInvoices && (connector == "" || name == connector)
		if max(p.Committed, 0) != p.End {
			behind = append(behind, fmt.Sprintf("%s at %d of %d in %s[%d]", p.Group, p.Committed, p.End, p.Topic, p.Partition))
		}
	}
	if archived && !reads && slices.ContainsFunc(now, func(p Position) bool { return p.Topic == topicInvoices && p.End > 0 }) {
		behind = append(behind, fmt.Sprintf("no group %s%s has read %s", connectorPrefix, cmp.Or(connector, "…"), topicInvoices))
	}
	return behind
}

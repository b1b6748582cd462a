// Package floor is the floor under the pipeline: the same hops and about as many
// records through the same library, without JSON, without state and without
// anything to decide. What lies between the two is the work. It must do nothing
// that a stage does not.
package floor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/streams"
	"github.com/comptoir/comptoir/streams/state"
)

// Config says where the floor runs.
type Config struct {
	Kafka kclient.Config
	// Dir takes its local state.
	Dir string
	// Prefix is in front of all names in Kafka.
	Prefix string
	// ReplicationFactor of its topics; 0 means the cluster's default.
	ReplicationFactor int16
}

// Floor is a running floor.
type Floor struct {
	cfg  Config
	db   *state.DB
	apps []*streams.App
}

type raw = streams.Record[[]byte, []byte]

// partitions are those of the pipeline's topics, when it creates them.
const partitions = 3

// Start creates the topics and starts the stages. Orders go to the topic
// <Prefix>orders, and come out at <Prefix>notified with the same value; keys must
// not end in a small letter.
func Start(ctx context.Context, cfg Config) (_ *Floor, err error) {
	f := &Floor{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
		}
	}()
	cl, err := cfg.Kafka.New()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	topics, apps := stages(cfg.Prefix)
	replication := cfg.ReplicationFactor
	if replication == 0 {
		replication = -1
	}
	created, err := kadm.NewClient(cl).CreateTopics(ctx, partitions, replication, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("create the floor's topics: %w", err)
	}
	if f.db, err = state.Open(cfg.Dir); err != nil {
		return nil, err
	}
	chain := &streams.Chain{}
	for _, a := range apps {
		b := streams.NewBuilder(cfg.Prefix + a.name)
		a.build(b)
		top, err := b.Build()
		if err != nil {
			return nil, err
		}
		app, err := streams.NewApp(streams.Config{Topology: top, Kafka: cfg.Kafka, State: f.db,
			Chain: chain, ReplicationFactor: cfg.ReplicationFactor})
		if err != nil {
			return nil, err
		}
		if err := app.Start(ctx); err != nil {
			return nil, err
		}
		f.apps = append(f.apps, app)
	}
	return f, nil
}

// Stop stops the stages. What they wrote stays.
func (f *Floor) Stop(ctx context.Context) error {
	var errs []error
	for _, a := range f.apps {
		errs = append(errs, a.Stop(ctx))
	}
	f.apps = nil
	if f.db != nil {
		errs = append(errs, f.db.Close())
		f.db = nil
	}
	return errors.Join(errs...)
}

type stage struct {
	name  string
	build func(*streams.Builder)
}

// stages are those of the floor. Each writes to its side topic as many records as
// the real one does to its changelog and to topics off the way, for an order of
// two lines.
func stages(prefix string) (topics []string, all []stage) {
	topic := func(name string) streams.Topic[[]byte, []byte] {
		if n := prefix + name; !slices.Contains(topics, n) {
			topics = append(topics, n)
		}
		return streams.Topic[[]byte, []byte]{Name: prefix + name, Key: streams.Bytes, Value: streams.Bytes}
	}
	orders, verdicts, paid, invoices, notified := topic("orders"), topic("verdicts"), topic("paid"), topic("invoices"), topic("notified")
	side := func(b *streams.Builder, name string) func(c *streams.Context, r raw, n int) {
		out := streams.To(b, topic("side-"+name))
		return func(c *streams.Context, r raw, n int) {
			for range n {
				out.Send(c, r)
			}
		}
	}
	for _, name := range []string{"stock", "pay", "bill", "notify"} {
		topic("side-" + name)
	}
	repartition := func(b *streams.Builder, name string, n streams.Partitions) (*streams.Output[[]byte, []byte], streams.Stream[[]byte, []byte]) {
		return streams.Repartition(b, name, streams.Bytes, streams.Bytes, n)
	}
	pass := func(name string, from, to streams.Topic[[]byte, []byte]) stage {
		return stage{name, func(b *streams.Builder) {
			out, aside := streams.To(b, to), side(b, name)
			streams.From(b, from).Process(name, func(c *streams.Context, r raw) {
				out.Send(c, r)
				aside(c, r, 1)
			})
		}}
	}
	// second marks a record that ends at the next stage but one.
	second := func(r raw, mark byte) raw {
		r.Key = slices.Concat(r.Key, []byte{mark})
		return r
	}
	return topics, []stage{
		{"stock", func(b *streams.Builder) {
			like := streams.PartitionsOf(orders.Name)
			toID, ids := repartition(b, "a", like)
			toProduct, parts := repartition(b, "b", like)
			toClient, answers := repartition(b, "c", like)
			out, aside := streams.To(b, verdicts), side(b, "stock")
			streams.From(b, orders).Process("client", func(c *streams.Context, r raw) {
				toID.Send(c, r)
				aside(c, r, 1)
			})
			ids.Process("identity", func(c *streams.Context, r raw) {
				toProduct.Send(c, r)
				toProduct.Send(c, second(r, 'b'))
				aside(c, r, 1)
			})
			parts.Process("product", func(c *streams.Context, r raw) {
				toClient.Send(c, r)
				aside(c, r, 3)
			})
			answers.Process("verdict", func(c *streams.Context, r raw) {
				if r.Key[len(r.Key)-1] != 'b' {
					out.Send(c, r)
				}
				aside(c, r, 1)
			})
		}},
		pass("pay", verdicts, paid),
		{"bill", func(b *streams.Builder) {
			toBill, bills := repartition(b, "d", streams.FixedPartitions(1))
			out, aside := streams.To(b, invoices), side(b, "bill")
			streams.From(b, verdicts).Process("verdict", func(c *streams.Context, r raw) { toBill.Send(c, second(r, 'v')) })
			streams.From(b, paid).To(toBill)
			bills.Process("bill", func(c *streams.Context, r raw) {
				if r.Key[len(r.Key)-1] != 'v' {
					out.Send(c, r)
				}
				aside(c, r, 1)
			})
		}},
		pass("notify", invoices, notified),
	}
}

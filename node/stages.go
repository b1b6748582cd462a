package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce"
	"github.com/comptoir/comptoir/commerce/anomaly"
	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/invoice"
	"github.com/comptoir/comptoir/commerce/notify"
	"github.com/comptoir/comptoir/commerce/payment"
	"github.com/comptoir/comptoir/commerce/payment/httpprovider"
	"github.com/comptoir/comptoir/commerce/stock"
	"github.com/comptoir/comptoir/streams"
)

// stageConfig is the stages' part of the configuration, in their words.
func (n *Node) stageConfig() (commerce.Config, error) {
	zone, err := time.LoadLocation(n.cfg.Facturation.Fuseau)
	if err != nil {
		return commerce.Config{}, fmt.Errorf("facturation.fuseau: %w", err)
	}
	ttl := time.Duration(n.cfg.Identite.Duree)
	rate := event.Percent(n.cfg.Facturation.TauxTVA)
	cfg := commerce.Config{
		Anomaly: anomaly.Config{IdentityTTL: ttl, Thresholds: &anomaly.Thresholds{
			HighAmount: event.Amount(n.cfg.Anomalies.MontantEleve),
			Currency:   event.DefaultCurrency,
			Orders:     n.cfg.Anomalies.Frequence.Commandes,
			Window:     time.Duration(n.cfg.Anomalies.Frequence.Fenetre),
		}},
		Stock:   stock.Config{IdentityTTL: ttl},
		Payment: payment.Config{IdentityTTL: ttl, Limit: event.Amount(n.cfg.Paiement.Plafond)},
		Invoice: invoice.Config{IdentityTTL: ttl, Series: n.cfg.Facturation.Series, Zone: zone, Rate: &rate,
			Issued: n.issued, Recover: n.cfg.Facturation.Reprise},
		Notify:      notify.Config{IdentityTTL: ttl},
		ShippingTTL: ttl,
	}
	if n.payments != nil {
		cfg.Payment.Workers = n.payments.workers
	}
	return cfg, nil
}

// payments are the workers that ask an outside payment provider, with the
// producer of their results.
type payments struct {
	workers *payment.Workers
	cl      *kgo.Client
}

// openPayments makes them, when the configuration names an outside provider.
func (n *Node) openPayments() error {
	if n.cfg.Paiement.Fournisseur != "http" || !n.cfg.HasRole("paiement") {
		return nil
	}
	provider, err := httpprovider.New(httpprovider.Config{URL: n.cfg.Paiement.URL, Timeout: time.Duration(n.cfg.Paiement.Timeout)})
	if err != nil {
		return fmt.Errorf("paiement: %w", err)
	}
	p := &payments{}
	if p.cl, err = n.kafka.New(kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return err
	}
	p.workers, err = payment.NewWorkers(payment.WorkersConfig{
		Provider: provider, Logger: n.log, Registerer: n.registry,
		Results: func(ctx context.Context, partition int32, key, value []byte) error {
			return p.cl.ProduceSync(ctx, &kgo.Record{Topic: payment.ResultsTopic, Partition: partition, Key: key, Value: value}).FirstErr()
		},
	})
	if err != nil {
		p.cl.Close()
		return err
	}
	n.payments = p
	return nil
}

func (p *payments) stop(ctx context.Context) error {
	defer p.cl.Close()
	return p.workers.Stop(ctx)
}

// issued reads factures.ecommerce, all of it, for a numbering that finds its
// counter empty: at the very first invoice the topic is empty too.
func (n *Node) issued() (invoice.Counters, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return invoice.Last(n.invoices(ctx), n.cfg.Facturation.Series)
}

// invoices are the committed invoices, up to those there are at the first.
func (n *Node) invoices(ctx context.Context) iter.Seq2[event.Invoice, error] {
	return func(yield func(event.Invoice, error) bool) {
		err := streams.ReadAll(ctx, n.kafka, event.TopicInvoices, func(r *kgo.Record) error {
			inv, err := event.ParseInvoice(r.Value)
			if err != nil {
				err = fmt.Errorf("%s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			if !yield(inv, err) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(event.Invoice{}, err)
		}
	}
}

var errEnough = errors.New("enough")

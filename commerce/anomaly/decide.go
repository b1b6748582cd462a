// Package anomaly owns what makes orders suspicious, and the stage that sends
// incoherent and suspicious orders to commandes.erreurs. It must not decide
// whether an order is coherent (event.ParseOrder does), nor hold an order back.
//
// This file is its pure part: decisions without I/O, tested by tables.
package anomaly

import (
	"strconv"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
)

// Thresholds says from where on an order is suspicious.
type Thresholds struct {
	HighAmount event.Amount  // an order of more is MONTANT_ELEVE, in any currency
	Currency   string        // of the catalogue's prices; others are not compared with them
	Orders     int           // more of one client within Window are FREQUENCE_ELEVEE
	Window     time.Duration // whole milliseconds
}

// DefaultThresholds returns the contract's thresholds: more than 5,000 per
// order, more than 50 orders of one client within 60 s, prices in EUR.
func DefaultThresholds() Thresholds {
	return Thresholds{HighAmount: 5_000_00, Currency: event.DefaultCurrency, Orders: 50, Window: time.Minute}
}

// Alerts returns what one coherent order by itself makes suspicious, each code
// at most once: MONTANT_ELEVE and PRIX_INATTENDU. The function prices gives the
// catalogue's price of a line, false if it has none; the line of an order in
// the single-line form has its produit, an id or a name, as Product. Such a
// line has a price only if montant / quantite is exact.
func Alerts(o event.Order, prices func(line event.Line) (event.Amount, bool), cfg Thresholds) []event.Problem {
	var alerts []event.Problem
	if o.Amount > cfg.HighAmount {
		alerts = append(alerts, event.Problem{
			Code: event.CodeHighAmount, Field: "montant",
			Detail: o.Amount.String() + " is more than " + cfg.HighAmount.String(),
		})
	}
	if o.Currency != cfg.Currency {
		return alerts
	}
	for i, line := range o.Lines {
		if !line.HasPrice {
			continue
		}
		field := "lignes[" + strconv.Itoa(i) + "].prix"
		if o.SingleLine {
			line.Product, field = event.ID(o.Product), "montant"
		}
		if price, ok := prices(line); ok && price != line.Price {
			return append(alerts, event.Problem{
				Code: event.CodeUnexpectedPrice, Field: field,
				Detail: line.Price.String() + " per piece, " + price.String() + " in the catalogue",
			})
		}
	}
	return alerts
}

// FrequencyAlert returns the alert for an order that Recent.Add found to be
// one too many.
func FrequencyAlert(cfg Thresholds) event.Problem {
	return event.Problem{
		Code: event.CodeHighFrequency, Field: "clientId",
		Detail: "more than " + strconv.Itoa(cfg.Orders) + " orders of this client within " + cfg.Window.String(),
	}
}

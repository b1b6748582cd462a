package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) orderCommand() *cobra.Command {
	cmd := noun("order", "Place orders, and follow them through the pipeline", `Work on orders through the HTTP API of a running `+"`comptoir up`"+` or
`+"`comptoir serve`"+`. Requests are repeated for 15 s while the API is away or says
503; one that places an order carries an Idempotency-Key, so that this is safe.`,
		a.orderPlaceCommand(), a.orderSendCommand(), a.orderGetCommand(), a.orderListCommand(), a.orderFollowCommand())
	a.apiFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

// The states of an order. The first ones follow each other.
var (
	statesOnTheWay = []string{"RECUE", "RESERVEE", "PAYEE", "FACTUREE", "NOTIFIEE"}
	states         = append(slices.Clone(statesOnTheWay), "STOCK_REFUSE", "PAIEMENT_REFUSE", "REJETEE", "EN_CONFLIT")
)

// state reads a state that a flag gives, in any case.
func stateOf(flag, word string, among []string) (string, error) {
	s := strings.ToUpper(word)
	if !slices.Contains(among, s) {
		return "", usagef("%s %q is none of %s", flag, word, strings.Join(among, ", "))
	}
	return s, nil
}

// order is what the API says of an order, as far as people are shown it.
type order struct {
	ID       wireID      `json:"commandeId"`
	State    string      `json:"statut"`
	Reason   string      `json:"motif"`
	Client   string      `json:"client"`
	ClientID wireID      `json:"clientId"`
	Email    string      `json:"email"`
	Amount   json.Number `json:"montant"`
	Currency string      `json:"devise"`
	Lines    []struct {
		Product  wireID      `json:"id_produit"`
		Name     string      `json:"nom_produit"`
		Quantity json.Number `json:"quantite"`
		Price    json.Number `json:"prix"`
		Amount   json.Number `json:"montant"`
		Reason   string      `json:"motif"`
	} `json:"lignes"`
	Alerts  []string `json:"alertes"`
	Invoice string   `json:"numero_facture"`
	Ordered string   `json:"date_commande"`
	Updated string   `json:"modifiee_le"`
	Waited  string   `json:"attente"`
}

// money is the amount with its currency.
func (o *order) money() string { return strings.TrimSpace(o.Amount.String() + " " + o.Currency) }

// outcome is the reason of a refusal, or the invoice.
func (o *order) outcome() string {
	if o.Reason != "" {
		return o.Reason
	}
	return o.Invoice
}

func orderPath(id string, rest ...string) string {
	return strings.Join(append([]string{"/commandes", url.PathEscape(id)}, rest...), "/")
}

func (a *app) orderGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get ID",
		Short:             "Show an order and its state",
		Example:           "  comptoir order get 991\n  comptoir order get 991 -o json",
		Args:              exactly("ID"),
		ValidArgsFunction: complete(1, a.orderIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkIDs("the order's id", args...); err != nil {
				return err
			}
			c, err := a.orderAPI()
			if err != nil {
				return err
			}
			var o order
			raw, err := c.get(cmd.Context(), orderPath(args[0]), &o)
			if err != nil {
				return err
			}
			return a.print(raw, func(w *tableWriter) { orderTables(w, &o) })
		},
	}
}

func orderTables(w *tableWriter, o *order) {
	for _, f := range [][2]string{
		{"order", string(o.ID)}, {"state", o.State}, {"reason", o.Reason}, {"client", o.Client}, {"client id", string(o.ClientID)},
		{"e-mail", o.Email}, {"amount", o.money()}, {"alerts", strings.Join(o.Alerts, ", ")}, {"invoice", o.Invoice},
		{"ordered", o.Ordered}, {"changed", o.Updated},
	} {
		if f[1] != "" {
			w.row(f[0], f[1])
		}
	}
	if len(o.Lines) == 0 {
		return
	}
	w.line("")
	w.row("PRODUCT", "NAME", "QUANTITY", "PRICE", "AMOUNT", "REASON")
	for _, l := range o.Lines {
		w.row(l.Product, l.Name, l.Quantity, l.Price, l.Amount, l.Reason)
	}
}

type orderListFlags struct {
	state, client, after string
	limit                int
	all                  bool
}

// maxPage is the most that the API lists at once.
const maxPage = 500

func (a *app) orderListCommand() *cobra.Command {
	var f orderListFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List orders, the last ones first",
		Long: `List orders, the last ones first. If there are more, the flag that goes on where
the list ends is told on standard error.`,
		Example: `  comptoir order list
  comptoir order list --state STOCK_REFUSE --limit 200
  comptoir order list --client CLI-991 --all -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.orderList(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.state, "state", "", "only orders in this state: "+strings.Join(states, ", "))
	fl.StringVar(&f.client, "client", "", "only orders of the client with this `ID`")
	fl.IntVar(&f.limit, "limit", 50, "the most orders to list")
	fl.BoolVar(&f.all, "all", false, "list all, whatever --limit says")
	fl.StringVar(&f.after, "after", "", "go on behind this `CURSOR` of an earlier list")
	completeWords(cmd, "state", states...)
	return cmd
}

func (a *app) orderList(ctx context.Context, f orderListFlags) error {
	query := url.Values{}
	if f.state != "" {
		s, err := stateOf("--state", f.state, states)
		if err != nil {
			return err
		}
		query.Set("statut", s)
	}
	if f.client != "" {
		if err := checkIDs("the client's id", f.client); err != nil {
			return err
		}
		query.Set("client", f.client)
	}
	if f.limit < 1 {
		return usagef("--limit is 1 or more")
	}
	limit := f.limit
	if f.all {
		limit = 0
	}
	c, err := a.orderAPI()
	if err != nil {
		return err
	}
	raw, next, err := pages(ctx, c, "/commandes", "commandes", query, f.after, limit)
	if err != nil {
		return err
	}
	var orders []order
	if err := decodeAll(c, raw, &orders); err != nil {
		return err
	}
	if next != "" {
		defer fmt.Fprintf(a.err, "There are more: --after %s goes on, --all lists all.\n", next)
	}
	return a.print(raw, func(w *tableWriter) {
		w.row("ORDER", "STATE", "CLIENT", "AMOUNT", "INVOICE OR REASON", "ORDERED")
		for _, o := range orders {
			w.row(o.ID, o.State, o.Client, o.money(), o.outcome(), o.Ordered)
		}
	})
}

// pages reads a list page by page until it has limit entries, 0 for all, and
// returns the cursor of what is left.
func pages(ctx context.Context, c *apiClient, path, name string, query url.Values, after string, limit int) (entries []json.RawMessage, next string, err error) {
	entries = []json.RawMessage{} // an empty list is no null
	for {
		page := maxPage
		if limit > 0 {
			page = min(page, limit-len(entries))
		}
		query.Set("limite", fmt.Sprint(page))
		if after != "" {
			query.Set("apres", after)
		}
		var body map[string]json.RawMessage
		if _, err := c.get(ctx, path+"?"+query.Encode(), &body); err != nil {
			return nil, "", err
		}
		var list []json.RawMessage
		next = ""
		for field, into := range map[string]any{name: &list, "suivant": &next} {
			if raw, ok := body[field]; ok {
				if err := c.decode(apiAnswer{body: raw}, into); err != nil {
					return nil, "", err
				}
			}
		}
		entries = append(entries, list...)
		if next == "" || next == after || limit > 0 && len(entries) >= limit {
			return entries, next, nil
		}
		after = next
	}
}

// decodeAll decodes the entries of a list.
func decodeAll[T any](c *apiClient, raw []json.RawMessage, into *[]T) error {
	for _, r := range raw {
		var v T
		if err := c.decode(apiAnswer{body: r}, &v); err != nil {
			return err
		}
		*into = append(*into, v)
	}
	return nil
}

// orderIDs are the last orders, for completion.
func (a *app) orderIDs(ctx context.Context) ([]string, error) {
	c, err := a.orderAPI()
	if err != nil {
		return nil, err
	}
	raw, _, err := pages(ctx, c, "/commandes", "commandes", url.Values{}, "", 50)
	if err != nil {
		return nil, err
	}
	var orders []order
	err = decodeAll(c, raw, &orders)
	ids := make([]string, len(orders))
	for i, o := range orders {
		ids[i] = string(o.ID)
	}
	return ids, err
}

// maxWait is the longest wait of one request.
const maxWait = 30 * time.Second

// await asks for an order until it has reached a state or a final one, or time
// is up: the answer's Waited says which.
func (c *apiClient) await(ctx context.Context, id, state string, limit time.Duration) (o order, raw json.RawMessage, err error) {
	for deadline := time.Now().Add(limit); ; {
		left := max(min(time.Until(deadline), maxWait).Round(time.Millisecond), time.Millisecond)
		o = order{}
		raw, err = c.get(ctx, orderPath(id)+"?"+url.Values{"attendre": {state}, "delai": {left.String()}}.Encode(), &o)
		if err != nil || o.Waited == "" || !time.Now().Before(deadline) {
			return o, raw, err
		}
	}
}

// reached says whether an order in a state has come as far as another.
func reached(state, want string) bool {
	return slices.Index(statesOnTheWay, state) >= slices.Index(statesOnTheWay, want)
}

// placed is the answer to an order that was accepted.
type placed struct {
	ID    wireID `json:"commandeId"`
	State string `json:"statut"`
}

// place sends an order as it is.
func (c *apiClient) place(ctx context.Context, body []byte, key string) (p placed, ans apiAnswer, err error) {
	ans, err = c.post(ctx, "/commandes", body, key)
	if err == nil {
		err = c.decode(ans, &p)
	}
	return p, ans, err
}

// known says that the order was there already, with the same content.
func (a apiAnswer) known() bool { return a.status == http.StatusOK }

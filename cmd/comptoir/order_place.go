package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce/event"
)

// orderFlags are the fields of an order, and how it is placed.
type orderFlags struct {
	id, client, clientID, email string
	amount, currency, product   string
	quantity                    int64
	lines                       []string
	timestamp                   string

	file, key, wait string
	timeout         time.Duration
}

// orderFields are the flags that make up the order, for which a file stands.
var orderFields = []string{"id", "client", "client-id", "email", "amount", "currency", "product", "quantity", "line", "timestamp"}

func (a *app) orderPlaceCommand() *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:   "place",
		Short: "Place an order",
		Long: `Place an order: from flags, or from a JSON file that is sent as it is (- reads
standard input). It is accepted once it is durable; what stages say of it comes
later. --wait RESERVEE, PAYEE, FACTUREE or NOTIFIEE waits for them. The exit
code is then 4 if the order is not there when the time is up, and 1 if it ends
otherwise.

With --line the amount is the sum of the lines unless --amount says it. An order
without --id is given one.

A request without answer is repeated under its Idempotency-Key. If that fails
too, the error names the key: the same command with --key places the order once,
whatever became of the first.`,
		Example: `  comptoir order place --client LUCAS --amount 120.5 --product "PC Gamer"
  comptoir order place --client "Inès Dubois" --email ines@example.org --line 1101:1:349 --line 1102:2:39.9 --wait NOTIFIEE
  comptoir order place -f order.json --key panier-4711`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var given []string
			for _, name := range orderFields {
				if cmd.Flags().Changed(name) {
					given = append(given, "--"+name)
				}
			}
			return a.orderPlace(cmd.Context(), f, given)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.id, "id", "", "`ID` of the order (default: one is assigned)")
	fl.StringVar(&f.client, "client", "", "`NAME` of the client")
	fl.StringVar(&f.clientID, "client-id", "", "`ID` of the client (default: the name)")
	fl.StringVar(&f.email, "email", "", "`ADDRESS` for the notification")
	fl.StringVar(&f.amount, "amount", "", "total including tax, such as 120.5")
	fl.StringVar(&f.currency, "currency", "", "ISO 4217 `CODE` (default EUR)")
	fl.StringVar(&f.product, "product", "", "id or name of the `PRODUCT`, for an order of one product")
	fl.Int64Var(&f.quantity, "quantity", 1, "pieces of --product")
	fl.StringArrayVar(&f.lines, "line", nil, "a line, `ID:QUANTITY:PRICE` with the price per piece; may be repeated")
	fl.StringVar(&f.timestamp, "timestamp", "", "`TIME` of the order, RFC 3339 (default: when it is accepted)")
	fl.StringVarP(&f.file, "file", "f", "", "JSON `FILE` of the order, - for standard input")
	keyFlag(cmd, &f.key)
	fl.StringVar(&f.wait, "wait", "", "wait until the order has reached this `STATE`, or ends otherwise")
	fl.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long --wait waits")
	completeWords(cmd, "wait", statesOnTheWay...)
	completeWords(cmd, "currency", "EUR")
	return cmd
}

func (a *app) orderPlace(ctx context.Context, f orderFlags, given []string) error {
	if f.wait != "" {
		var err error
		if f.wait, err = stateOf("--wait", f.wait, statesOnTheWay); err != nil {
			return err
		}
		if f.timeout <= 0 {
			return usagef("--timeout is more than 0")
		}
	}
	key, err := keyOf(f.key)
	if err != nil {
		return err
	}
	body, err := a.orderBody(f, given)
	if err != nil {
		return err
	}
	c, err := a.orderAPI()
	if err != nil {
		return err
	}
	p, ans, err := c.place(ctx, body, key)
	if err != nil {
		return sayKey(err, key)
	}
	if ans.known() {
		fmt.Fprintf(a.err, "order %s was placed before, with the same content\n", cleanCell(string(p.ID)))
	}
	if f.wait == "" {
		return a.printPlaced(ans.body, &order{ID: p.ID, State: p.State})
	}
	o, raw, err := c.await(ctx, string(p.ID), f.wait, f.timeout)
	if err != nil {
		return partialf("order %s is placed, but what became of it could not be asked: %w", p.ID, err)
	}
	if err := a.printPlaced(raw, &o); err != nil {
		return err
	}
	switch {
	case reached(o.State, f.wait):
		return nil
	case o.Waited != "":
		return partialf("order %s is still %s after %s: `comptoir order follow %s` waits for its end", o.ID, o.State, f.timeout, o.ID)
	}
	return failuref("order %s ended as %s", o.ID, strings.TrimSpace(o.State+" "+o.Reason))
}

func (a *app) printPlaced(raw json.RawMessage, o *order) error {
	return a.print(raw, func(w *tableWriter) {
		if o.outcome() == "" {
			w.row("ORDER", "STATE")
			w.row(o.ID, o.State)
			return
		}
		w.row("ORDER", "STATE", "INVOICE OR REASON")
		w.row(o.ID, o.State, o.outcome())
	})
}

// orderBody reads the order's JSON, or makes it of the flags.
func (a *app) orderBody(f orderFlags, given []string) ([]byte, error) {
	switch {
	case f.file != "" && len(given) > 0:
		return nil, usagef("the file says it all: give --file or %s, not both", strings.Join(given, ", "))
	case f.file != "":
		return a.readFile(f.file)
	case len(given) == 0:
		return nil, usagef("order place needs --client, --amount and --product, or --line, or -f FILE")
	case len(f.lines) > 0 && (f.product != "" || f.quantity != 1):
		return nil, usagef("give --line, or --product and --quantity, not both")
	}
	lines, sum, err := parseLines(f.lines)
	if err != nil {
		return nil, err
	}
	if f.amount == "" {
		f.amount = sum
	} else if err := decimal("--amount", f.amount); err != nil {
		return nil, err
	}
	// Only what was given is sent: what is missing or wrong the API says.
	b := []byte{'{'}
	field := func(name string, value []byte) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
		b = append(b, value...)
	}
	id := func(name, value string) {
		if value != "" {
			field(name, event.ID(value).AppendJSON(nil))
		}
	}
	text := func(name, value string) {
		if value != "" {
			quoted, _ := json.Marshal(value) // a string is always JSON
			field(name, quoted)
		}
	}
	id("commandeId", f.id)
	text("client", f.client)
	id("clientId", f.clientID)
	text("email", f.email)
	if f.amount != "" {
		field("montant", []byte(f.amount))
	}
	text("devise", f.currency)
	id("produit", f.product)
	if f.product != "" && f.quantity != 1 {
		field("quantite", strconv.AppendInt(nil, f.quantity, 10))
	}
	if len(lines) > 0 {
		field("lignes", lines)
	}
	text("timestamp", f.timestamp)
	return append(b, '}'), nil
}

// decimal makes sure that a flag's text is one JSON number: what it is worth
// the API judges.
func decimal(flag, text string) error {
	if _, err := event.ParseAmount([]byte(text)); errors.Is(err, event.ErrNotDecimal) {
		return usagef("%s %q is not a decimal number such as 120.5", flag, text)
	}
	return nil
}

// parseLines reads ID:QUANTITY:PRICE, where the id may have colons, and returns
// the JSON array and the sum. There is no sum of what is no money: the API says
// why.
func parseLines(lines []string) (array []byte, sum string, err error) {
	var total event.Amount
	exact := true
	for i, l := range lines {
		parts := strings.Split(l, ":")
		n := len(parts)
		if n < 3 {
			return nil, "", usagef("--line %q is not ID:QUANTITY:PRICE, such as 1597:2:29.99", l)
		}
		id, price := strings.Join(parts[:n-2], ":"), parts[n-1]
		quantity, err := strconv.ParseInt(parts[n-2], 10, 64)
		if err != nil {
			return nil, "", usagef("--line %q: the quantity %q is no whole number", l, parts[n-2])
		}
		if err := decimal(fmt.Sprintf("--line %q: price", l), price); err != nil {
			return nil, "", err
		}
		each, err := event.ParseAmount([]byte(price))
		if err != nil || each < 0 || quantity < 0 || quantity > 0 && each > (math.MaxInt64-total)/event.Amount(quantity) {
			exact = false
		} else {
			total += each * event.Amount(quantity)
		}
		array = append(array, "[,"[min(i, 1)])
		array = event.ID(id).AppendJSON(append(array, `{"id_produit":`...))
		array = strconv.AppendInt(append(array, `,"quantite":`...), quantity, 10)
		array = append(append(append(array, `,"prix":`...), price...), '}')
	}
	if len(lines) == 0 {
		return nil, "", nil
	}
	if exact {
		sum = total.String()
	}
	return append(array, ']'), sum, nil
}

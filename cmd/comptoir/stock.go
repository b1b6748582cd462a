package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce/event"
)

func (a *app) stockCommand() *cobra.Command {
	cmd := noun("stock", "Supply stock, and look at it", `Work on the stock through the HTTP API. A supply reaches the stages through
Kafka, and counts for orders that are handled after it.`,
		a.stockAddCommand(), a.stockListCommand())
	a.apiFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

func (a *app) stockAddCommand() *cobra.Command {
	var name, key string
	cmd := &cobra.Command{
		Use:   "add ID QUANTITY",
		Short: "Supply pieces of a product, and print the supply's id",
		Long: `Supply pieces of a product, and print the supply's id, which stands as reference
in its stock movement. A product that is not known is made by it.

A request without answer is repeated under its Idempotency-Key. If that fails
too, the error names the key: the same command with --key supplies once.`,
		Example:           `  comptoir stock add 1597 250` + "\n" + `  comptoir stock add 2001 25 --name "Théière en fonte"`,
		Args:              exactly("ID", "QUANTITY"),
		ValidArgsFunction: complete(1, a.productIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkIDs("the product's id", args[0]); err != nil {
				return err
			}
			n, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || n < 1 || n > event.MaxSupply {
				return usagef("the quantity %q is no whole number from 1 to %d", args[1], int64(event.MaxSupply))
			}
			key, err := keyOf(key)
			if err != nil {
				return err
			}
			fields := map[string]any{"quantite": n}
			if name != "" {
				fields["nom_produit"] = name
			}
			body, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			c, err := a.orderAPI()
			if err != nil {
				return err
			}
			ans, err := c.post(cmd.Context(), "/stock/"+url.PathEscape(args[0])+"/approvisionnements", body, key)
			if err != nil {
				return sayKey(err, key)
			}
			var supply struct {
				ID wireID `json:"id"`
			}
			if err := c.decode(ans, &supply); err != nil {
				return err
			}
			return a.print(json.RawMessage(ans.body), func(w *tableWriter) { w.row(supply.ID) })
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of a product that is not known yet")
	keyFlag(cmd, &key)
	return cmd
}

func (a *app) stockListCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "list [ID...]",
		Short:             "Show what is available and what is reserved, of all products or some",
		Example:           "  comptoir stock list\n  comptoir stock list 1001 1597",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: complete(0, a.productIDs),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.stockList(cmd.Context(), args) },
	}
}

// level is the part of a product that is its stock.
type level struct {
	Product   wireID      `json:"id_produit"`
	Name      string      `json:"nom_produit"`
	Available json.Number `json:"disponible"`
	Reserved  json.Number `json:"reserve"`
}

func (a *app) stockList(ctx context.Context, ids []string) error {
	if err := checkIDs("the product's id", ids...); err != nil {
		return err
	}
	var products []product
	var errs []error
	if len(ids) == 0 {
		all, _, err := a.products(ctx, 0)
		if err != nil {
			return err
		}
		products = all
	} else {
		c, err := a.orderAPI()
		if err != nil {
			return err
		}
		for _, id := range ids {
			var p product
			if _, err := c.get(ctx, productPath(id), &p); errors.Is(err, errNoAPI) {
				return err
			} else if err != nil {
				errs = append(errs, &exitError{exitCode(err), fmt.Errorf("product %s: %w", id, err)})
				continue
			}
			products = append(products, p)
		}
	}
	levels := make([]level, len(products))
	for i, p := range products {
		levels[i] = level{p.ID, p.Name, p.Available, p.Reserved}
	}
	if len(levels) > 0 || len(errs) == 0 {
		if err := a.print(levels, func(w *tableWriter) {
			w.row("PRODUCT", "NAME", "AVAILABLE", "RESERVED")
			for _, l := range levels {
				w.row(l.Product, l.Name, l.Available, l.Reserved)
			}
		}); err != nil {
			return err
		}
	}
	return outcome(len(ids), errs)
}

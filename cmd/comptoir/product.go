package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) productCommand() *cobra.Command {
	cmd := noun("product", "Put products into the catalogue, and list them", `Work on the catalogue through the HTTP API. A change reaches the stages through
Kafka, and holds for orders that are handled after it.`,
		a.productPutCommand(), a.productGetCommand(), a.productListCommand())
	a.apiFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

// product is what the API says of a product.
type product struct {
	ID        wireID      `json:"id_produit"`
	Name      string      `json:"nom_produit"`
	Price     json.Number `json:"prix"`
	Available json.Number `json:"disponible"`
	Reserved  json.Number `json:"reserve"`
}

func productPath(id string) string { return "/produits/" + url.PathEscape(id) }

func (a *app) productPutCommand() *cobra.Command {
	var name, price string
	cmd := &cobra.Command{
		Use:   "put ID",
		Short: "Put a product into the catalogue, or change it",
		Long: `Put a product into the catalogue, or change name and price of one that is there.
Without --price it has none. Its stock is not touched: stock add supplies it.`,
		Example:           `  comptoir product put 2001 --name "Théière en fonte" --price 39.90`,
		Args:              exactly("ID"),
		ValidArgsFunction: complete(1, a.productIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkIDs("the product's id", args...); err != nil {
				return err
			}
			if name == "" {
				return usagef("%s needs --name", cmd.CommandPath())
			}
			fields := map[string]any{"nom_produit": name}
			if price != "" {
				if err := decimal("--price", price); err != nil {
					return err
				}
				fields["prix"] = json.RawMessage(price)
			}
			body, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			c, err := a.orderAPI()
			if err != nil {
				return err
			}
			if _, err := c.do(cmd.Context(), apiRequest{method: http.MethodPut, path: productPath(args[0]), body: body}); err != nil {
				return err
			}
			if a.output != "table" {
				return a.print(map[string][]wireID{"stored": {wireID(args[0])}}, nil)
			}
			return a.done("stored", args)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the product")
	cmd.Flags().StringVar(&price, "price", "", "price per piece, such as 39.90")
	return cmd
}

func (a *app) productGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get ID",
		Short:             "Show a product",
		Example:           "  comptoir product get 1597",
		Args:              exactly("ID"),
		ValidArgsFunction: complete(1, a.productIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkIDs("the product's id", args...); err != nil {
				return err
			}
			c, err := a.orderAPI()
			if err != nil {
				return err
			}
			var p product
			raw, err := c.get(cmd.Context(), productPath(args[0]), &p)
			if err != nil {
				return err
			}
			return a.print(raw, func(w *tableWriter) { productTable(w, []product{p}) })
		},
	}
}

func (a *app) productListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the products with price and stock",
		Example: "  comptoir product list\n  comptoir product list -o json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			products, raw, err := a.products(cmd.Context(), 0)
			if err != nil {
				return err
			}
			return a.print(raw, func(w *tableWriter) { productTable(w, products) })
		},
	}
}

func productTable(w *tableWriter, products []product) {
	w.row("PRODUCT", "NAME", "PRICE", "AVAILABLE", "RESERVED")
	for _, p := range products {
		w.row(p.ID, p.Name, p.Price, p.Available, p.Reserved)
	}
}

// products lists limit products, 0 for all.
func (a *app) products(ctx context.Context, limit int) ([]product, []json.RawMessage, error) {
	c, err := a.orderAPI()
	if err != nil {
		return nil, nil, err
	}
	raw, _, err := pages(ctx, c, "/produits", "produits", url.Values{}, "", limit)
	if err != nil {
		return nil, nil, fmt.Errorf("products: %w", err)
	}
	var products []product
	err = decodeAll(c, raw, &products)
	return products, raw, err
}

// productIDs are the first products, for completion.
func (a *app) productIDs(ctx context.Context) ([]string, error) {
	products, _, err := a.products(ctx, maxPage)
	ids := make([]string, len(products))
	for i, p := range products {
		ids[i] = string(p.ID)
	}
	return ids, err
}

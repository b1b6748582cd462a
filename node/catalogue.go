package node

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/demo"
	"github.com/comptoir/comptoir/internal/kclient"
)

// catalogueSupply is the id of the supply that a catalogue gives to each of its
// products: unique per product, so that loading it twice supplies once.
const catalogueSupply = "catalogue-initial"

// maxCatalogue bounds a catalogue file.
const maxCatalogue = 256 << 20

// item is a product of a catalogue with its first supply, 0 for none.
type item struct {
	product  event.Product
	quantity int64
}

func demoCatalogue() []item {
	var items []item
	for _, p := range demo.Catalogue() {
		items = append(items, item{event.Product{ID: p.ID, Name: p.Name, Price: p.Price, HasPrice: true}, p.Quantity})
	}
	return items
}

// readCatalogue reads a file: a JSON array or a CSV with header of id_produit,
// nom_produit, prix (optional) and quantite.
func readCatalogue(path string) ([]item, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCatalogue+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > maxCatalogue {
		return nil, fmt.Errorf("%s: larger than %d MiB", path, maxCatalogue>>20)
	}
	items, err := parseCatalogue(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return items, nil
}

func parseCatalogue(data []byte) ([]item, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty")
	case bytes.IndexByte(data, 0) >= 0:
		return nil, errors.New("is neither a JSON array nor a CSV with header, but binary")
	case !utf8.Valid(data):
		return nil, errors.New("is not UTF-8: save it in that encoding")
	}
	rows, err := catalogueRows(data)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errors.New("holds no product")
	}
	seen := map[event.ID]bool{}
	items := make([]item, 0, len(rows))
	for i, row := range rows {
		it, err := row.item()
		if err != nil {
			return nil, fmt.Errorf("product %d: %w", i+1, err)
		}
		if seen[it.product.ID] {
			return nil, fmt.Errorf("product %d: id_produit %s stands twice", i+1, it.product.ID)
		}
		seen[it.product.ID] = true
		items = append(items, it)
	}
	return items, nil
}

// catalogueRow is a product as text, from either format.
type catalogueRow struct{ id, name, price, quantity string }

func catalogueRows(data []byte) ([]catalogueRow, error) {
	switch t := bytes.TrimSpace(data); t[0] {
	case '[':
		return jsonRows(t)
	case '{':
		return nil, errors.New("a JSON array is needed: [ … ], its products separated by commas")
	}
	return csvRows(data)
}

func jsonRows(data []byte) ([]catalogueRow, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("not a JSON array of products: %w", err)
	}
	rows := make([]catalogueRow, len(raw))
	for i, product := range raw {
		var m map[string]json.RawMessage
		if product[0] != '{' || json.Unmarshal(product, &m) != nil {
			return nil, fmt.Errorf("product %d is no JSON object", i+1)
		}
		for k, v := range m {
			text := string(v)
			if len(v) > 0 && v[0] == '"' {
				if err := json.Unmarshal(v, &text); err != nil {
					return nil, fmt.Errorf("product %d, %s: %w", i+1, k, err)
				}
			}
			if text == "null" {
				text = ""
			}
			if err := rows[i].set(k, text); err != nil {
				return nil, fmt.Errorf("product %d: %w", i+1, err)
			}
		}
	}
	return rows, nil
}

func csvRows(data []byte) ([]catalogueRow, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace = true
	if line, _, _ := bytes.Cut(data, []byte("\n")); bytes.Contains(line, []byte(";")) && !bytes.Contains(line, []byte(",")) {
		r.Comma = ';'
	}
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("neither a JSON array nor a CSV with header: %w", err)
	}
	for i := range header {
		header[i] = strings.TrimSpace(header[i])
		if err := new(catalogueRow).set(header[i], ""); err != nil {
			return nil, fmt.Errorf("neither a JSON array nor a CSV with header: %w", err)
		}
	}
	var rows []catalogueRow
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		var row catalogueRow
		for i, v := range rec {
			if err := row.set(header[i], strings.TrimSpace(v)); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
}

func (r *catalogueRow) set(field, text string) error {
	switch field {
	case "id_produit":
		r.id = text
	case "nom_produit":
		r.name = text
	case "prix":
		r.price = text
	case "quantite":
		r.quantity = text
	default:
		return fmt.Errorf("unknown field %q: the fields are id_produit, nom_produit, prix, quantite", field)
	}
	return nil
}

func (r catalogueRow) item() (it item, err error) {
	it.product.ID, it.product.Name = event.ID(r.id), r.name
	if !it.product.ID.Valid() {
		return it, fmt.Errorf("id_produit %q is no id", r.id)
	}
	if !event.ValidName(r.name) {
		return it, fmt.Errorf("id_produit %s: nom_produit %q must have 1 to %d bytes and no control characters", r.id, r.name, event.MaxNameBytes)
	}
	if r.price != "" {
		if it.product.Price, err = event.ParseAmount([]byte(r.price)); err != nil || it.product.Price < 0 {
			if dot := strings.Replace(r.price, ",", ".", 1); dot != r.price {
				if _, err := event.ParseAmount([]byte(dot)); err == nil {
					return it, fmt.Errorf("id_produit %s: prix %q is no amount: write %s", r.id, r.price, dot)
				}
			}
			return it, fmt.Errorf("id_produit %s: prix %q is no amount of 0 or more with at most 2 decimals, such as 2.5", r.id, r.price)
		}
		it.product.HasPrice = true
	}
	if r.quantity != "" {
		if it.quantity, err = strconv.ParseInt(r.quantity, 10, 64); err != nil {
			return it, fmt.Errorf("id_produit %s: quantite %q is not a whole number", r.id, r.quantity)
		}
		if it.quantity < 0 || it.quantity > event.MaxSupply {
			return it, fmt.Errorf("id_produit %s: quantite must be 0 to %d (is %d)", r.id, int64(event.MaxSupply), it.quantity)
		}
	}
	return it, nil
}

// catalogueTimeout bounds how long Kafka may take to have the catalogue.
const catalogueTimeout = time.Minute

// loadCatalogue writes products and supplies and waits until they are durable.
func loadCatalogue(ctx context.Context, k kclient.Config, items []item) error {
	// Topics that were just created are not known to every broker for a while.
	cl, err := k.New(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, catalogueTimeout)
	defer cancel()
	recs := make([]*kgo.Record, 0, 2*len(items))
	for _, it := range items {
		recs = append(recs, &kgo.Record{Topic: event.TopicProducts, Key: []byte(it.product.ID), Value: it.product.AppendJSON(nil)})
		if it.quantity > 0 {
			s := event.Supply{ID: catalogueSupply, Product: it.product.ID, Name: it.product.Name, Quantity: it.quantity}
			recs = append(recs, &kgo.Record{Topic: event.TopicSupplies, Key: []byte(it.product.ID), Value: s.AppendJSON(nil)})
		}
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		return fmt.Errorf("load catalogue: %w", err)
	}
	return nil
}

// empty tells whether a topic never held a record.
func empty(ctx context.Context, adm *kadm.Client, topic string) (bool, error) {
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return false, fmt.Errorf("ends of %s: %w", topic, err)
	}
	is := true
	ends.Each(func(o kadm.ListedOffset) { is = is && o.Offset == 0 })
	return is, nil
}

// Package httpprovider asks a payment provider by HTTP. It owns the wire form
// of its questions and answers and is the only part of a stage that speaks
// HTTP. It must not decide anything: what is not clearly an answer to the
// question is an error, which says that the outcome is unknown.
//
//	POST {url}       {"id_commande","montant","devise"}, Idempotency-Key: <id>
//	GET  {url}/{id}  404: no such payment
//
// Both are answered with a status 200 to 299 (201 for instance) and
// {"statut":"ACCEPTE|REFUSE","reference"?,"motif"?}.
package httpprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/payment"
)

// Method is the moyen of payments that a provider captured.
const Method = "PRESTATAIRE"

// maxAnswer is the longest answer that is read, in bytes.
const maxAnswer = 64 << 10

// Config sets a Provider up. URL is required.
type Config struct {
	// URL is where payments are sent, http or https, without query and
	// fragment. A user and password in it are sent as basic authentication.
	URL string
	// Timeout ends a call whose answer does not come. Defaults to 10 s.
	Timeout time.Duration
	// Transport carries the calls. Defaults to http.DefaultTransport.
	Transport http.RoundTripper
}

// Provider is a payment.Provider that speaks HTTP. It is safe for concurrent use.
type Provider struct {
	url    string
	client *http.Client
}

var _ payment.Provider = (*Provider)(nil)

// New checks the configuration. It does not contact the provider.
func New(cfg Config) (*Provider, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("payment provider: the URL cannot be read") // err would repeat its password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("payment provider: %q is no URL of the form https://host/path without query and fragment", u.Redacted())
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	return &Provider{url: strings.TrimRight(u.String(), "/"), client: &http.Client{
		Transport: cfg.Transport,
		Timeout:   cfg.Timeout,
		// A redirected POST becomes a GET of something else, whose answer would
		// be taken for the payment's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Pay sends a payment. The order's id is the idempotency key.
func (p *Provider) Pay(ctx context.Context, r payment.Request) (payment.Outcome, error) {
	b, err := json.Marshal(struct {
		Order    json.RawMessage `json:"id_commande"`
		Amount   json.RawMessage `json:"montant"`
		Currency string          `json:"devise"`
	}{r.Order.AppendJSON(nil), r.Amount.AppendJSON(nil), r.Currency})
	if err != nil {
		return payment.Outcome{}, fmt.Errorf("send payment: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(b))
	if err != nil {
		return payment.Outcome{}, fmt.Errorf("send payment: %w", err)
	}
	// Without it the transport would send the payment a second time by itself,
	// on a connection that breaks.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key(r.Order))
	o, _, err := p.do(req, r.Order)
	if err != nil {
		return o, fmt.Errorf("send payment: %w", err)
	}
	return o, nil
}

// Ask asks what became of a payment.
func (p *Provider) Ask(ctx context.Context, order event.ID) (payment.Outcome, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/"+url.PathEscape(string(order)), nil)
	if err != nil {
		return payment.Outcome{}, fmt.Errorf("ask for payment: %w", err)
	}
	o, status, err := p.do(req, order)
	if status == http.StatusNotFound {
		err = payment.ErrNoPayment
	}
	if err != nil {
		return payment.Outcome{}, fmt.Errorf("ask for payment: %w", err)
	}
	return o, nil
}

func (p *Provider) do(req *http.Request, order event.ID) (o payment.Outcome, status int, err error) {
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return o, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return o, resp.StatusCode, fmt.Errorf("the provider answers %s", resp.Status)
	}
	if err != nil {
		return o, resp.StatusCode, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return o, resp.StatusCode, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	a, err := parseAnswer(body)
	if err != nil {
		return o, resp.StatusCode, fmt.Errorf("answer not understood: %w", err)
	}
	return a.outcome(order), resp.StatusCode, nil
}

// key writes an order's id so that it stands in a header as it is: an id of
// visible ASCII without % is itself, any other is percent-encoded. So two ids
// never share a key.
func key(order event.ID) string {
	for i := 0; i < len(order); i++ {
		if c := order[i]; c <= ' ' || c >= 0x7f || c == '%' {
			return url.PathEscape(string(order))
		}
	}
	return string(order)
}

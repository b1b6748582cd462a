package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// apiPatience is how long a request is repeated while the API is away or
	// answers 503.
	apiPatience = 15 * time.Second
	// apiPause is the time before the first repetition; it doubles up to
	// apiMaxPause.
	apiPause    = 100 * time.Millisecond
	apiMaxPause = 2 * time.Second
	// apiConns is how many idle connections are kept: one for each of the
	// requests that `order send` may have under way.
	apiConns = 1000
)

// apiClient speaks to the order API. It is safe for concurrent use. Every
// request of it may be repeated: POST carries an Idempotency-Key.
type apiClient struct {
	base string
	http *http.Client
	// reached is set by the first answer: from then on a refused connection is a
	// restart, before it is a wrong address.
	reached atomic.Bool
}

// orderAPI opens a client of the API that the flags name.
func (a *app) orderAPI() (*apiClient, error) {
	base, err := a.url(apiTarget, a.api)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--api %q is no URL such as %s", base, apiTarget.fallback)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = apiConns, apiConns
	return &apiClient{base: base, http: &http.Client{Transport: t}}, nil
}

// apiRequest is one request. Key is the Idempotency-Key, which every POST has.
type apiRequest struct {
	method, path string
	body         []byte
	key          string
	header       http.Header // further ones
}

// apiAnswer is what came back, its body whole.
type apiAnswer struct {
	status int
	body   []byte
}

// problem is an answer of 400 or more: RFC 9457 problem details.
type problem struct {
	status int
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Code   string `json:"code"`
		Field  string `json:"champ"`
		Detail string `json:"detail"`
	} `json:"erreurs"`
}

func (p *problem) Error() string {
	var b strings.Builder
	b.WriteString(cmp.Or(p.Detail, http.StatusText(p.status), strconv.Itoa(p.status)))
	if p.Code != "" {
		fmt.Fprintf(&b, " (%s)", p.Code)
	}
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "\n  %s: %s (%s)", cmp.Or(e.Field, "the whole"), e.Detail, e.Code)
	}
	return cleanLines(b.String())
}

// cleanLines is cleanCell for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = cleanCell(l)
	}
	return strings.Join(lines, "\n")
}

// errNoAPI says that nothing answered at all: no request has had any effect.
var errNoAPI = errors.New("no order API")

// passing is a failure that may be over when the request is repeated, at the
// earliest after a while.
type passing struct {
	err   error
	after time.Duration
}

func (p *passing) Error() string { return p.err.Error() }
func (p *passing) Unwrap() error { return p.err }

// get asks for path and decodes the JSON answer into into.
func (c *apiClient) get(ctx context.Context, path string, into any) (raw json.RawMessage, err error) {
	ans, err := c.do(ctx, apiRequest{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	return ans.body, c.decode(ans, into)
}

func (c *apiClient) decode(ans apiAnswer, into any) error {
	if err := json.Unmarshal(ans.body, into); err != nil {
		return failuref("%s does not answer as the order API does: %w", c.base, err)
	}
	return nil
}

// do sends a request until it is answered, for apiPatience. Its error is a
// *problem with the exit code it means, errNoAPI, or says that no answer came.
func (c *apiClient) do(ctx context.Context, r apiRequest) (ans apiAnswer, err error) {
	err = c.repeat(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, restTimeout)
		defer cancel()
		res, err := c.attempt(ctx, r)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return &passing{err: fmt.Errorf("read the answer of %s: %w", c.base, err)}
		}
		ans = apiAnswer{res.StatusCode, b}
		return nil
	})
	return ans, err
}

// repeat tries until it succeeds, fails for good, or patience ends.
func (c *apiClient) repeat(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(apiPatience)
	for pause := apiPause; ; pause = min(2*pause, apiMaxPause) {
		err := try()
		var p *passing
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.As(err, &p) {
			return err
		}
		wait := max(pause, p.after)
		if time.Now().Add(wait).After(deadline) {
			return p.err
		}
		if !lifecycle.Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// attempt sends a request once. The caller closes the answer's body.
func (c *apiClient) attempt(ctx context.Context, r apiRequest) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, usagef("--api %q is no URL: %w", c.base, err)
	}
	req.Header.Set("Accept", "application/json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	res, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if c.reached.Load() || broken(err) {
			return nil, &passing{err: fmt.Errorf("%s does not answer: %w", c.base, err)}
		}
		return nil, fmt.Errorf("%w at %s: start one with `comptoir up`, give --data-dir of one that runs, or --api (%w)", errNoAPI, c.base, err)
	}
	c.reached.Store(true)
	if res.StatusCode < 400 {
		return res, nil
	}
	defer res.Body.Close()
	p := &problem{status: res.StatusCode}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil {
		_ = json.Unmarshal(b, p) // else the status says it
	}
	failed := &exitError{exitFailure, p}
	switch {
	case res.StatusCode == http.StatusNotFound:
		failed.code = exitNotFound
	case res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout,
		p.Code == codeInProgress:
		return nil, &passing{failed, retryAfter(res.Header)}
	}
	return nil, failed
}

// codeInProgress is the answer to a request whose first copy still runs.
const codeInProgress = "REQUETE_EN_COURS"

// broken says that somebody listened, and that a connection broke or nothing
// came in time.
func broken(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, context.DeadlineExceeded)
}

// retryAfter reads the header of that name, in seconds; 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// outcomeUnknown says that a request may have had its effect although it
// failed.
func outcomeUnknown(err error) bool {
	var p *problem
	if errors.As(err, &p) {
		return p.status >= 500 || p.Code == codeInProgress
	}
	return err != nil && !errors.Is(err, errNoAPI) && exitCode(err) != exitUsage
}

// post sends a POST that takes effect once, however often it is repeated.
func (c *apiClient) post(ctx context.Context, path string, body []byte, key string) (apiAnswer, error) {
	return c.do(ctx, apiRequest{method: http.MethodPost, path: path, body: body, key: key})
}

// maxKey is the longest Idempotency-Key that the API takes, in bytes.
const maxKey = 255

// keyFlag adds --key; keyOf reads it.
func keyFlag(cmd *cobra.Command, key *string) {
	cmd.Flags().StringVar(key, "key", "", "Idempotency-Key, at most 255 bytes (default: a new one)")
}

// keyOf is the key that --key gives, a new one without it.
func keyOf(flag string) (string, error) {
	switch {
	case flag == "":
		return uuid.NewString(), nil
	case len(flag) > maxKey || !utf8.ValidString(flag) || strings.ContainsFunc(flag, unicode.IsControl) || strings.TrimSpace(flag) != flag:
		return "", usagef("--key takes at most %d bytes of UTF-8 without control characters, nor blanks at its ends", maxKey)
	}
	return flag, nil
}

// sayKey adds to an error whose outcome is not known how to ask again.
func sayKey(err error, key string) error {
	if !outcomeUnknown(err) {
		return err
	}
	return failuref("%w\nWhether it took effect is not known: the same command with --key %s does it once", err, key)
}

// checkIDs refuses what is no id before anything is asked: in a path . and ..
// would mean another one, and nothing the list.
func checkIDs(what string, ids ...string) error {
	for _, id := range ids {
		if !event.ID(id).Valid() {
			return usagef("%s %q is none: it has 1 to %d bytes of UTF-8 without control characters, and is not . or ..", what, id, event.MaxIDBytes)
		}
	}
	return nil
}

// wireID is an id of the API's answers: a JSON number or string.
type wireID string

// MarshalJSON writes the id as the API does: as a number if it looks like one.
func (id wireID) MarshalJSON() ([]byte, error) { return event.ID(id).AppendJSON(nil), nil }

// UnmarshalJSON takes a number by its digits.
func (id *wireID) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(id))
	}
	if string(b) != "null" {
		*id = wireID(b)
	}
	return nil
}

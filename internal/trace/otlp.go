package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlp sends spans by OTLP/HTTP in protobuf. It stands in for the SDK's own
// client, which links all of gRPC into the binary (7 MB) for its message types.
//
// Left out on purpose: compression, JSON, Retry-After, and the count of refused
// spans in the answer to a request that was taken.
type otlp struct {
	endpoint *url.URL
	client   *http.Client
}

var _ otlptrace.Client = (*otlp)(nil)

// exportTimeout bounds one request, as the specification suggests.
const exportTimeout = 10 * time.Second

// errRefused is in the error of spans that will not be taken later either.
var errRefused = errors.New("refused by the collector")

func newOTLP(endpoint string) (*otlp, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		// Not err itself: it quotes the URL, which may hold a password.
		return nil, errors.New("traces: the collector's URL is not well-formed")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("traces: %s is not the URL of a collector: http://HOST:PORT", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return &otlp{u, &http.Client{Timeout: exportTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}}, nil
}

// Start does nothing: connections are opened with the first request.
func (c *otlp) Start(context.Context) error { return nil }

// Stop closes idle connections.
func (c *otlp) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans once. The error wraps errRefused if there is no point
// in sending them again.
func (c *otlp) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData has the encoding of the request's own message, which comes with
	// gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "comptoir")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Read, so that the connection is used again.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusBadGateway,
		resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		return fmt.Errorf("collector answers %s", resp.Status)
	}
	return fmt.Errorf("%w: %s", errRefused, resp.Status)
}

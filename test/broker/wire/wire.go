// Package wire speaks the Kafka protocol to one broker, request by request, in
// the version that the caller chose and with whatever the caller put in. It owns
// no retries, no metadata and no judgement: what a client library would hide is
// what its users want to see.
package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswer is the largest answer in bytes that is read.
const maxAnswer = 256 << 20

// ClientID is how the requests name their client.
const ClientID = "comptoir-test"

// Conn is one connection. Requests go out one at a time; its methods are safe
// for concurrent use.
type Conn struct {
	mu     sync.Mutex
	conn   net.Conn
	number int32
	format *kmsg.RequestFormatter
}

// Dial connects to a broker, within the context's time.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(ClientID))}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Do sends the request in the version set in it and returns the answer in the
// same version. A produce request with acks 0 has no answer: nil. After an error
// the connection is of no use.
func (c *Conn) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.number++
	if _, err := c.conn.Write(c.format.AppendRequest(nil, req, c.number)); err != nil {
		return nil, fmt.Errorf("send %s: %w", Name(req), err)
	}
	if p, ok := req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
		return nil, nil
	}
	body, err := ReadFrame(c.conn)
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", Name(req), errors.Join(err, ctx.Err()))
	}
	return Parse(req, c.number, body)
}

// ReadFrame reads one size-prefixed message.
func ReadFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes is announced", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, err
}

// Parse decodes an answer, correlation id first.
func Parse(req kmsg.Request, number int32, body []byte) (kmsg.Response, error) {
	r := kbin.Reader{Src: body}
	if got := r.Int32(); got != number {
		return nil, fmt.Errorf("the answer to %s has correlation id %d, not %d", Name(req), got, number)
	}
	// The answer to ApiVersions never has tags in its header.
	if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		kmsg.SkipTags(&r)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(r.Src); err != nil {
		return nil, fmt.Errorf("answer to %s: %w", Name(req), err)
	}
	return resp, nil
}

// Name is a request's kind and version, for messages.
func Name(req kmsg.Request) string {
	return fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), req.GetVersion())
}

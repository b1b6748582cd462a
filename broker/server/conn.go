package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/core"
)

// inFlight is how many requests of a connection may be under way. Answers go
// out in the order of the requests.
const inFlight = 32

// keptBuffer is the size up to which a connection keeps the buffer of its
// answers.
const keptBuffer = 16 << 10

// conn is a connection: one goroutine reads requests and passes them on, one
// writes the answers, in order.
type conn struct {
	server *Server
	nc     net.Conn
	host   string
	slots  chan *slot
}

// slot is a request that will be answered.
type slot struct {
	header header
	begun  time.Time
	held   *held // by the request
	sent   held  // by its answer
	// produces says that the core alone knows when the request is done with: its
	// records are written even when the connection has ended.
	produces bool
	// answer gets the core's response.
	answer chan kmsg.Response
	// read is done in place of waiting, when the slot's turn comes.
	read func(context.Context) kmsg.Response
}

// errQuiet ends a connection without a word in the log.
var errQuiet = errors.New("connection ends")

func (c *conn) serve(parent context.Context) {
	ctx, stop := context.WithCancel(parent)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer stop()
		defer c.nc.Close()
		c.end(c.writeAll(ctx))
	}()
	c.end(c.readAll(ctx))
	stop()
	close(c.slots)
	_ = c.nc.Close()
	<-written
	for s := range c.slots {
		s.release()
	}
}

func (s *slot) release() {
	if !s.produces {
		s.held.release()
	}
	s.sent.release()
}

// end says why a connection ends, if that is news.
func (c *conn) end(err error) {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, errQuiet), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, context.Canceled), errors.Is(err, core.ErrClosed), isReset(err):
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.server.cfg.Metrics.ended.WithLabelValues("slow").Inc()
	default:
		c.server.cfg.Metrics.ended.WithLabelValues("bad_request").Inc()
	}
	c.server.log.Warn("broker ends a connection", "client", c.host, "err", err)
}

func (c *conn) readAll(ctx context.Context) (err error) {
	var h *held // by the request that is read, until it is passed on
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p)
		}
		if h != nil {
			h.release()
		}
	}()
	limits := c.server.cfg.Limits
	r := bufio.NewReaderSize(c.nc, 16<<10)
	for {
		if err := c.nc.SetReadDeadline(time.Now().Add(limits.Idle)); err != nil {
			return err
		}
		h = &held{budget: c.server.memory}
		frame, err := readFrame(r, limits,
			func(n int) error { return h.grow(ctx, n, limits.Stall) },
			func() { _ = c.nc.SetReadDeadline(time.Now().Add(limits.Stall)) })
		if err == nil {
			c.server.cfg.Metrics.received.Add(float64(4 + len(frame)))
			if int16(binary.BigEndian.Uint16(frame)) == int16(kmsg.Produce) {
				h.buffers = append(h.buffers, frame)
			}
			err = c.take(ctx, frame, h)
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && r.Buffered() == 0 && h.n.Load() == 0 {
				return errQuiet // idle
			}
			return err
		}
		h = nil
	}
}

// take decodes a request and has it done.
func (c *conn) take(ctx context.Context, frame []byte, h *held) error {
	head, body, err := readHeader(frame)
	if err != nil {
		return err
	}
	s := &slot{header: head, begun: time.Now(), held: h, sent: held{budget: c.server.answers}}
	c.server.cfg.Metrics.began(head.key)
	known, ok := versions[head.key]
	switch {
	case head.key == int16(kmsg.ApiVersions) && head.version > known.max:
		// KIP-511: the client learns the versions and asks again.
		s.read = func(context.Context) kmsg.Response { return apiVersions(0, true) }
		return c.put(ctx, s)
	case !ok || head.version < known.least || head.version > known.max:
		return fmt.Errorf("request with key %d (%s) in version %d is not supported", head.key, kmsg.NameForKey(head.key), head.version)
	}
	req := kmsg.RequestForKey(head.key)
	req.SetVersion(head.version)
	if err := c.decode(req, body); err != nil {
		return fmt.Errorf("%s request of version %d cannot be read: %w", kmsg.NameForKey(head.key), head.version, err)
	}
	if read := c.reading(s, req); read != nil {
		s.read = read
		return c.put(ctx, s)
	}
	if p, ok := req.(*kmsg.ProduceRequest); ok {
		return c.produce(ctx, s, p)
	}
	s.answer = make(chan kmsg.Response, 1)
	return c.submit(ctx, s, c.request(s, req))
}

// request is a request for the core.
func (c *conn) request(s *slot, req kmsg.Request) *core.Request {
	return &core.Request{
		Client: core.Client{ID: s.header.clientID, Host: c.host},
		Body:   req,
		// The request is done with, though its answer may wait in line for long.
		Answer: func(resp kmsg.Response) {
			s.held.release()
			if s.answer != nil {
				s.answer <- resp
			}
		},
		Dropped: func() {
			s.held.release()
			_ = c.nc.Close()
		},
	}
}

func (c *conn) decode(req kmsg.Request, body []byte) error {
	if err := checkShape(body, req); err != nil {
		return err
	}
	if req.Key() != int16(kmsg.Produce) && len(body) > step {
		c.server.decoding.Lock()
		defer c.server.decoding.Unlock()
	}
	return req.ReadFrom(body)
}

// reading returns what answers a request that changes nothing and needs no turn
// of the core; nil for another.
func (c *conn) reading(sl *slot, req kmsg.Request) func(context.Context) kmsg.Response {
	s := c.server
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		return func(context.Context) kmsg.Response { return introduced(req) }
	case *kmsg.FetchRequest:
		return func(ctx context.Context) kmsg.Response { return s.fetch(ctx, req, &sl.sent) }
	case *kmsg.ListOffsetsRequest:
		return func(context.Context) kmsg.Response { return s.listOffsets(req) }
	case *kmsg.OffsetForLeaderEpochRequest:
		return func(context.Context) kmsg.Response { return s.offsetForLeaderEpoch(req) }
	}
	return nil
}

// submit hands a request to the core and waits in line for its answer.
func (c *conn) submit(ctx context.Context, s *slot, r *core.Request) error {
	// In line first: the core may answer at once.
	if s.answer != nil {
		if err := c.put(ctx, s); err != nil {
			return err
		}
	}
	return c.server.cfg.Submit(ctx, r)
}

// put lines a request up for its answer.
func (c *conn) put(ctx context.Context, s *slot) error {
	select {
	case c.slots <- s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) writeAll(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p)
		}
	}()
	var kept []byte
	for {
		var s *slot
		select {
		case s = <-c.slots:
			if s == nil {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if kept, err = c.write(ctx, s, kept); err != nil {
			return err
		}
	}
}

// write waits for an answer and sends it. It returns the buffer it was given, or
// one for the next answer that is no larger than keptBuffer.
func (c *conn) write(ctx context.Context, s *slot, kept []byte) ([]byte, error) {
	defer s.release()
	resp, err := s.wait(ctx)
	if err != nil {
		return kept, err
	}
	out, records := kept[:0], int(s.sent.n.Load())
	if records > keptBuffer/2 {
		out = takeBuffer(records + keptBuffer)[:0]
	}
	c.server.cfg.Metrics.refused(resp)
	out = appendResponse(out, s.header.correlationID, resp)
	if err = c.nc.SetWriteDeadline(time.Now().Add(c.server.cfg.Limits.Stall)); err == nil {
		_, err = c.nc.Write(out)
	}
	if err == nil {
		c.server.cfg.Metrics.answered(s.header.key, time.Since(s.begun))
		c.server.cfg.Metrics.sent.Add(float64(len(out)))
	}
	if records > keptBuffer/2 {
		giveBuffer(out)
	} else if cap(out) <= keptBuffer {
		kept = out
	}
	return kept, err
}

func (s *slot) wait(ctx context.Context) (kmsg.Response, error) {
	if s.read != nil {
		return s.read(ctx), nil
	}
	select {
	case resp := <-s.answer:
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) panicked(p any) error {
	c.server.cfg.Metrics.Panicked()
	c.server.log.Error("a request made the broker panic; its connection ends", "client", c.host, "panic", p, "stack", string(debug.Stack()))
	_ = c.nc.Close()
	return errQuiet
}

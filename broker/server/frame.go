package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// header is what stands before a request's body.
type header struct {
	key, version  int16
	correlationID int32
	clientID      string
}

// minFrame is API key, version and correlation id.
const minFrame = 8

// step is how much memory a frame gets before its bytes have come; from there
// on it gets as much again as has come.
const step = 64 << 10

// growth asks for n more bytes of memory.
type growth func(n int) error

// readFrame reads a size and as many bytes. It takes memory as they come and
// not as they are announced, and asks grow for it. Those of a produce request are
// from takeBuffer: whoever is done with it gives them back.
func readFrame(r *bufio.Reader, limits Limits, grow growth, begun func()) ([]byte, error) {
	// The size is judged alone, in case no more comes.
	head, err := peek(r, 4)
	if err != nil {
		return nil, err
	}
	begun()
	size := binary.BigEndian.Uint32(head)
	if size < minFrame || int64(size) > int64(max(limits.Frame, limits.OtherFrame)) {
		return nil, fmt.Errorf("not a request: it begins with %q, a size of %d bytes", head, size)
	}
	if head, err = peek(r, 8); err != nil {
		return nil, err
	}
	key := int16(binary.BigEndian.Uint16(head[4:]))
	if key != int16(kmsg.Produce) && int64(size) > int64(limits.OtherFrame) {
		return nil, fmt.Errorf("not a request that is taken here: %d bytes with API key %d, the limit is %d", size, key, limits.OtherFrame)
	}
	if _, err := r.Discard(4); err != nil {
		return nil, err
	}
	take, give := func(n int) []byte { return make([]byte, n) }, func([]byte) {}
	if key == int16(kmsg.Produce) {
		take, give = takeBuffer, giveBuffer
	}
	var b []byte
	for len(b) < int(size) {
		have := len(b)
		n := min(int(size)-have, max(step, have))
		if err := grow(n); err != nil {
			return nil, err
		}
		larger := take(have + n)
		copy(larger, b)
		give(b)
		b = larger
		if _, err := io.ReadFull(r, b[have:]); err != nil {
			return nil, fmt.Errorf("a request of %d bytes breaks off: %w", size, err)
		}
	}
	return b, nil
}

func peek(r *bufio.Reader, n int) ([]byte, error) {
	b, err := r.Peek(n)
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

var errHeader = errors.New("not a request: its header breaks off")

// readHeader reads a frame's header and returns the body behind it. flexible
// tells which headers have tags.
func readHeader(b []byte) (header, []byte, error) {
	if len(b) < minFrame {
		return header{}, nil, errHeader
	}
	h := header{
		key:           int16(binary.BigEndian.Uint16(b)),
		version:       int16(binary.BigEndian.Uint16(b[2:])),
		correlationID: int32(binary.BigEndian.Uint32(b[4:])),
	}
	b = b[8:]
	if h.key == int16(kmsg.ControlledShutdown) && h.version == 0 {
		return h, b, nil
	}
	if len(b) < 2 {
		return h, nil, errHeader
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n > len(b) {
		return h, nil, errHeader
	}
	if n > 0 {
		h.clientID = string(b[:n])
		b = b[n:]
	}
	req := kmsg.RequestForKey(h.key)
	if req == nil {
		return h, b, nil
	}
	if req.SetVersion(h.version); !req.IsFlexible() {
		return h, b, nil
	}
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return h, nil, errHeader
	}
	b = b[n:]
	for range count {
		if _, n = binary.Uvarint(b); n <= 0 {
			return h, nil, errHeader
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return h, nil, errHeader
		}
		b = b[n+int(size):]
	}
	return h, b, nil
}

// appendResponse appends a whole response frame.
func appendResponse(dst []byte, correlationID int32, resp kmsg.Response) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	// An ApiVersions response never has tags in its header: the client may not
	// know the version it gets (KIP-511).
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// held is what a request holds of the server's memory. It grows before it is
// shared; anybody may release it then, and as often as they like.
type held struct {
	budget *budget
	n      atomic.Int64
	// buffers are given back with it. They are set before it is shared.
	buffers [][]byte
}

// grow takes n more bytes. It waits, but if it holds some already, for as long as
// most at the longest.
func (h *held) grow(ctx context.Context, n int, most time.Duration) error {
	if h.n.Load() == 0 {
		most = 0
	}
	if err := h.budget.take(ctx, int64(n), most); err != nil {
		return err
	}
	h.n.Add(int64(n))
	return nil
}

func (h *held) release() {
	if n := h.n.Swap(0); n != 0 {
		for _, b := range h.buffers {
			giveBuffer(b)
		}
		h.buffers = nil
		h.budget.give(n)
	}
}

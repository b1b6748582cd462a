package broker

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame is the largest request in bytes, Apache Kafka's
// socket.request.max.bytes.
const maxFrame = 100 << 20

// minFrame is API key, version and correlation id.
const minFrame = 8

// guard looks at the head of each request before the engine does, which would
// allocate whatever size is announced (an HTTP request announces 1.2 GB) and
// panic on an API key it has never heard of.
type guard struct {
	net.Conn
	log    *slog.Logger
	closed func(*guard)

	frame frameCheck // used by the one reading goroutine
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.frame.check(p[:n]); bad != nil {
		g.log.Warn("broker refuses a connection", "client", g.RemoteAddr().String(), "error", bad)
		g.Conn.Close()
		return 0, bad
	}
	return n, err
}

func (g *guard) Close() error {
	g.closed(g)
	return g.Conn.Close()
}

// frameCheck follows a stream of size-prefixed requests. The zero value stands
// before the first one.
type frameCheck struct {
	head [8]byte // size, key, version
	n    int     // bytes of head seen
	left int     // bytes of the request's body after head
}

// check takes the next bytes of the stream and says what is wrong with them.
func (f *frameCheck) check(p []byte) error {
	for len(p) > 0 {
		if f.n < len(f.head) {
			// The size is judged alone: the engine allocates as soon as it
			// has those four bytes.
			end := 4
			if f.n >= 4 {
				end = len(f.head)
			}
			c := copy(f.head[f.n:end], p)
			f.n += c
			p = p[c:]
			if f.n < end {
				return nil
			}
			if end == 4 {
				size := binary.BigEndian.Uint32(f.head[:4])
				if size < minFrame || size > maxFrame {
					return fmt.Errorf("not a Kafka request: it begins with %q, a size of %d bytes", f.head[:4], size)
				}
				continue
			}
			key := int16(binary.BigEndian.Uint16(f.head[4:6]))
			if kmsg.RequestForKey(key) == nil {
				return fmt.Errorf("not a Kafka request: unknown API key %d", key)
			}
			f.left = int(binary.BigEndian.Uint32(f.head[:4])) - 4
		}
		c := min(f.left, len(p))
		f.left -= c
		p = p[c:]
		if f.left == 0 {
			f.n = 0
		}
	}
	return nil
}

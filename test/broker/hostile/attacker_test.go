package hostile

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/test/broker/wire"
)

// attacker sends what it likes.
type attacker struct {
	addr string
	rng  *rand.Rand
	sent *atomic.Int64
}

// attack is one connection's life.
func (a *attacker) attack(ctx context.Context) {
	var d net.Dialer
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	c, err := d.DialContext(dial, "tcp", a.addr)
	cancel()
	if err != nil {
		a.rest(ctx, 50*time.Millisecond)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	manner := a.rng.IntN(8)
	if manner > 0 { // all but one in eight read what they are told
		go func() {
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	for range 1 + a.rng.IntN(50) {
		frame := a.frame()
		a.sent.Add(1)
		if manner == 1 && len(frame) > 1 { // slowly, and never to its end
			cut := a.rng.IntN(len(frame))
			_, _ = c.Write(frame[:cut])
			a.rest(ctx, time.Duration(a.rng.IntN(1000))*time.Millisecond)
			return
		}
		if _, err := c.Write(frame); err != nil || ctx.Err() != nil {
			return
		}
		if a.rng.IntN(20) == 0 {
			a.rest(ctx, 5*time.Millisecond)
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok && a.rng.IntN(2) == 0 {
		_ = tcp.SetLinger(0) // a reset instead of an end
	}
}

func (a *attacker) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// frame is random bytes, a request with random content, or one that is spoilt.
func (a *attacker) frame() []byte {
	if a.rng.IntN(10) == 0 {
		b := make([]byte, 4+a.rng.IntN(300))
		for i := range b {
			b[i] = byte(a.rng.Uint32())
		}
		if a.rng.IntN(2) == 0 { // of the size that it says
			binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		}
		return b
	}
	b := kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile")).AppendRequest(nil, a.request(), int32(a.rng.Uint32()))
	switch a.rng.IntN(6) {
	case 0: // as it is
	case 1: // cut or continued, with the right size
		b = b[:4+a.rng.IntN(len(b)-3)]
		b = append(b, make([]byte, a.rng.IntN(20))...)
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	case 2: // another size
		binary.BigEndian.PutUint32(b, []uint32{0, 1, 7, math.MaxInt32, math.MaxUint32, 99 << 20, 1 << 20, uint32(len(b))}[a.rng.IntN(8)])
	case 3: // another version
		binary.BigEndian.PutUint16(b[6:], uint16(a.rng.IntN(20)))
	default: // some bytes or numbers changed
		for range 1 + a.rng.IntN(4) {
			i := 4 + a.rng.IntN(len(b)-4)
			if b[i] ^= byte(1 << a.rng.IntN(8)); a.rng.IntN(3) == 0 && i+4 <= len(b) {
				binary.BigEndian.PutUint32(b[i:], []uint32{0, math.MaxInt32, math.MaxUint32, 1 << 30, 1 << 16}[a.rng.IntN(5)])
			}
		}
	}
	return b
}

// request is one of any kind, mostly of those that clients send, in any version,
// with random content.
func (a *attacker) request() kmsg.Request {
	for {
		key := int16(a.rng.IntN(95))
		if a.rng.IntN(3) > 0 {
			key = int16(a.rng.IntN(30))
		}
		req := kmsg.RequestForKey(key)
		if req == nil || key == int16(kmsg.ControlledShutdown) {
			continue
		}
		a.fill(reflect.ValueOf(req).Elem(), 0)
		req.SetVersion(int16(a.rng.IntN(int(req.MaxVersion()) + 1)))
		return req
	}
}

func (a *attacker) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" && f.Name != "Version" {
				a.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		if a.rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			a.fill(v.Elem(), depth)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(a.bytes())
			return
		}
		n := a.rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			a.fill(v.Index(i), depth+1)
		}
	case reflect.String:
		v.SetString([]string{"hostile", "hostile-2", "", "not a topic!", "consumer", "range", "retention.ms", "1"}[a.rng.IntN(8)])
	case reflect.Bool:
		v.SetBool(a.rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 0, 1, 1, 2, 10, -1, -1, -2, math.MaxInt16, math.MaxInt32, math.MinInt32, math.MaxInt64}[a.rng.IntN(13)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(a.rng.IntN(3)))
	case reflect.Float64:
		v.SetFloat(float64(a.rng.IntN(100)))
	}
}

// bytes are record batches, good and spoilt, or anything.
func (a *attacker) bytes() []byte {
	b := wire.New(make([]byte, a.rng.IntN(100)))
	b.ProducerID, b.Epoch, b.Sequence = int64(a.rng.IntN(4)-1), int16(a.rng.IntN(3)-1), int32(a.rng.IntN(4)-1)
	b.Attributes = int16(a.rng.IntN(64))
	e := b.Encode()
	switch a.rng.IntN(4) {
	case 0:
		return e
	case 1: // spoilt, with the right checksum
		e[21+a.rng.IntN(len(e)-21)] ^= byte(1 << a.rng.IntN(8))
		return wire.Seal(e)
	case 2:
		return e[:a.rng.IntN(len(e))]
	}
	return []byte("rubbish")
}

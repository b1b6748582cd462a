package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// request is a frame as a client sends it.
func request(req kmsg.Request, version int16) []byte {
	req.SetVersion(version)
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	return f.AppendRequest(nil, req, 7)
}

func testProduce(version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	id := "transaction"
	req.TransactionID = &id
	for range 2 {
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID = "topic", [16]byte{1}
		for i := range int32(3) {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = i, []byte("records")
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func TestReadFrame(t *testing.T) {
	limits := Limits{Frame: 1 << 20, OtherFrame: 1 << 10}
	var took int
	grow := func(n int) error { took += n; return nil }
	for _, c := range []struct {
		name, input string
		err         string
		most        int // memory taken
	}{
		{"whole", string(request(kmsg.NewPtrMetadataRequest(), 9)), "", 64},
		{"http", "GET / HTTP/1.1\r\n\r\n", "not a request", 0},
		{"too large", "\x00\x10\x00\x00\x00\x03\x00\x00", "not a request", 0},
		{"negative", "\xff\xff\xff\xff\x00\x00\x00\x00", "not a request", 0},
		{"too small", "\x00\x00\x00\x07\x00\x03\x00\x00", "not a request", 0},
		{"announced and not sent", "\x00\x0f\xff\xff\x00\x00\x00\x03" + strings.Repeat("x", 100), "breaks off", step},
		{"in the size", "\x00\x00", "unexpected EOF", 0},
		{"nothing", "", "EOF", 0},
	} {
		took = 0
		_, err := readFrame(bufio.NewReader(strings.NewReader(c.input)), limits, grow, func() {})
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		}
		if took > c.most {
			t.Errorf("%s: took %d bytes, want at most %d", c.name, took, c.most)
		}
	}
}

func TestReadHeaderOfEveryRequest(t *testing.T) {
	for key, span := range versions {
		for v := span.least; v <= span.max; v++ {
			frame := request(kmsg.RequestForKey(key), v)[4:]
			h, body, err := readHeader(frame)
			if err != nil || h != (header{key, v, 7, "test"}) {
				t.Errorf("%s v%d: %+v, %v", kmsg.NameForKey(key), v, h, err)
				continue
			}
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			if err := req.ReadFrom(body); err != nil {
				t.Errorf("%s v%d: body: %v", kmsg.NameForKey(key), v, err)
			}
			if _, _, err := readHeader(frame[:len(frame)-len(body)-1]); err == nil && len(frame)-len(body) > minFrame {
				t.Errorf("%s v%d: a header that breaks off is taken", kmsg.NameForKey(key), v)
			}
		}
	}
}

func TestVersionsAreKnownToKmsg(t *testing.T) {
	for key, span := range versions {
		req := kmsg.RequestForKey(key)
		if req == nil || span.max > req.MaxVersion() || span.least > span.max {
			t.Errorf("key %d is announced from %d to %d, which cannot be read", key, span.least, span.max)
		}
	}
}

func TestProduceShape(t *testing.T) {
	for v := int16(3); v <= 13; v++ {
		_, body, err := readHeader(request(testProduce(v), v)[4:])
		if err != nil {
			t.Fatal(err)
		}
		if err := checkProduceShape(body, v); err != nil {
			t.Errorf("v%d: %v", v, err)
		}
		for cut := range body {
			if err := checkProduceShape(body[:cut], v); err == nil {
				t.Errorf("v%d: %d of %d bytes are taken", v, cut, len(body))
				break
			}
		}
	}
	// A million topics announced, none sent.
	body := []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0}
	body = binary.BigEndian.AppendUint32(body, 1_000_000)
	body = append(body, bytes.Repeat([]byte{0}, 1_000_000)...)
	if err := checkProduceShape(body, 3); err == nil {
		t.Error("a million announced topics are taken")
	}
}

func FuzzProduceShape(f *testing.F) {
	for _, v := range []int16{3, 9, 13} {
		_, body, _ := readHeader(request(testProduce(v), v)[4:])
		f.Add(body, v)
	}
	f.Fuzz(func(t *testing.T, body []byte, version int16) {
		if version < 3 || version > 13 {
			return
		}
		err := checkProduceShape(body, version)
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(version)
		if len(body) < 1<<12 && req.ReadFrom(body) == nil && err != nil && partitionsOf(req) < maxPartitionsPerRequest {
			t.Errorf("a readable request is refused: %v", err)
		}
	})
}

func partitionsOf(req *kmsg.ProduceRequest) (n int) {
	for _, t := range req.Topics {
		n += 1 + len(t.Partitions)
	}
	return n
}

func FuzzHeader(f *testing.F) {
	f.Add(request(kmsg.NewPtrApiVersionsRequest(), 4)[4:])
	f.Add(request(kmsg.NewPtrMetadataRequest(), 1)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := readHeader(b)
		if err == nil && len(body)+len(h.clientID) > len(b) {
			t.Errorf("%d bytes of body of %d", len(body), len(b))
		}
	})
}

package orderdb

import (
	"encoding/binary"
	"errors"
	"time"
)

var errHeaders = errors.New("outbox row with damaged headers")

// appendHeaders writes headers as lengths and bytes; none is nothing.
func appendHeaders(b []byte, headers []Header) []byte {
	for _, h := range headers {
		b = binary.AppendUvarint(b, uint64(len(h.Key)))
		b = append(b, h.Key...)
		b = binary.AppendUvarint(b, uint64(len(h.Value)))
		b = append(b, h.Value...)
	}
	return b
}

// parseHeaders reads what appendHeaders wrote.
func parseHeaders(b []byte) (headers []Header, err error) {
	field := func() []byte {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			err = errHeaders
			return nil
		}
		f := b[size : size+int(n)]
		b = b[size+int(n):]
		return f
	}
	for len(b) > 0 {
		key := field()
		if err != nil {
			return nil, err
		}
		value := field()
		if err != nil {
			return nil, err
		}
		headers = append(headers, Header{Key: string(key), Value: value})
	}
	return headers, nil
}

// millis reads a stored time; 0 is none.
func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Package wiretest checks the encodings that stages make of package wire. It
// owns what must be true of each of them, and must not know any.
package wiretest

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/comptoir/comptoir/streams"
)

// RoundTrip checks that values come back as they were, and that neither a part
// of an encoding, nor more than it, nor another version is accepted. The
// encoding's first byte is its version.
func RoundTrip[T any](t *testing.T, s streams.Serde[T], values ...T) {
	t.Helper()
	for _, v := range values {
		data := s.Append([]byte("before"), v)
		if !bytes.HasPrefix(data, []byte("before")) {
			t.Fatalf("%+v is not appended to what was there", v)
		}
		data = data[len("before"):]
		if got, err := s.Parse(data); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%+v became %+v, %v", v, got, err)
		}
		for n := range data {
			if got, err := s.Parse(data[:n]); err == nil {
				t.Errorf("%d of %d bytes read as %+v", n, len(data), got)
			}
		}
		if got, err := s.Parse(append(bytes.Clone(data), 0)); err == nil {
			t.Errorf("%+v and a byte too many read as %+v", v, got)
		}
		data[0]++
		if _, err := s.Parse(data); err == nil {
			t.Errorf("%+v of another version is accepted", v)
		}
	}
}

// Fuzz checks that what is accepted of any data means the same after being
// written again.
func Fuzz[T any](t *testing.T, s streams.Serde[T], data []byte) {
	t.Helper()
	v, err := s.Parse(data)
	if err != nil {
		return
	}
	if again, err := s.Parse(s.Append(nil, v)); err != nil || !reflect.DeepEqual(v, again) {
		t.Fatalf("%+v became %+v, %v", v, again, err)
	}
}

package server

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filled is a request with random content, and tags that nobody knows.
func filled(key, version int16, rng *rand.Rand) kmsg.Request {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	randomly(reflect.ValueOf(req).Elem(), rng)
	req.SetVersion(version)
	return req
}

func randomly(v reflect.Value, rng *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("some text"[:rng.IntN(9)])
	case reflect.Pointer:
		if rng.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomly(v.Elem(), rng)
		}
	case reflect.Slice:
		n := rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			randomly(v.Index(i), rng)
		}
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			for range rng.IntN(3) {
				tags.Set(uint32(100+rng.IntN(1000)), make([]byte, rng.IntN(200)))
			}
			return
		}
		if v.Type() == reflect.TypeFor[kmsg.FetchRequestReplicaState]() {
			return // see replicaState
		}
		for i := range v.NumField() {
			randomly(v.Field(i), rng)
		}
	case reflect.Uint8:
		v.SetUint(uint64(rng.IntN(256)))
	default:
		fill(v, int64(rng.IntN(100)))
	}
}

// TestEveryLayout holds each layout against what kmsg writes.
func TestEveryLayout(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for k, l := range layouts() {
		for range 50 {
			req := filled(k.key, k.version, rng)
			body := req.AppendTo(nil)
			w := walker{b: body, flexible: true}
			w.fields(l)
			if w.tags(nil); w.bad || len(w.b) != 0 {
				t.Fatalf("%s v%d: %d of %d bytes are left, bad %v: %+v", kmsg.NameForKey(k.key), k.version, len(w.b), len(body), w.bad, l)
			}
			if err := checkShape(body, req); err != nil {
				t.Fatalf("%s v%d: %v", kmsg.NameForKey(k.key), k.version, err)
			}
			if n := len(body); n > 0 && checkShape(body[:rng.IntN(n)], req) == nil {
				t.Fatalf("%s v%d: a part is taken", kmsg.NameForKey(k.key), k.version)
			}
		}
		// Announced, and not there.
		req := kmsg.RequestForKey(k.key)
		req.SetVersion(k.version)
		body := req.AppendTo(nil)
		body = append(body[:len(body)-1], 0xff, 0xff, 0xff, 0xff, 0x0f)
		if checkShape(body, req) == nil {
			t.Errorf("%s v%d: tags that are not there are taken", kmsg.NameForKey(k.key), k.version)
		}
	}
}

// Tags within a known tag are not walked, so there must be none but a follower's,
// which is refused.
func TestNoTagsWithinTags(t *testing.T) {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.ReplicaState.ID = 17, 5
	if checkShape(req.AppendTo(nil), req) == nil {
		t.Error("a follower is taken")
	}
	var look func(path string, s reflect.Type)
	look = func(path string, s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			elem := f.Type
			for elem.Kind() == reflect.Slice || elem.Kind() == reflect.Pointer {
				elem = elem.Elem()
			}
			if elem.Kind() != reflect.Struct || elem == reflect.TypeFor[kmsg.Tags]() {
				continue
			}
			if f.Type.Kind() == reflect.Struct && elem != reflect.TypeFor[kmsg.FetchRequestReplicaState]() {
				t.Errorf("%s.%s is a struct among tags", path, f.Name)
			}
			look(path+"."+f.Name, elem)
		}
	}
	for key := range versions {
		look(kmsg.NameForKey(key), reflect.TypeOf(kmsg.RequestForKey(key)).Elem())
	}
}

// FuzzShape: what is taken can be decoded without going through what is not there.
func FuzzShape(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 0))
	for k := range layouts() {
		f.Add(k.key, k.version, filled(k.key, k.version, rng).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if span, ok := versions[key]; !ok || version < span.least || version > span.max {
			return
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if checkShape(body, req) == nil {
			_ = req.ReadFrom(body)
		}
	})
}

package server

import (
	"bytes"
	"reflect"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// layout is how a struct of a flexible request lies on the wire: its fields in
// order, and then tags. kmsg's decoder believes any number of tags, and goes
// through four thousand millions that are not there, which takes a core for
// minutes. So a body is walked along its layout first.
//
// kmsg tells no layouts. They are found by encoding requests that differ in one
// field: what the field does to the bytes says whether the version has it.
type layout []fieldLayout

// fieldLayout is one field.
type fieldLayout struct {
	kind fieldKind
	size int    // of a fixed field or of an element, if that is no struct
	each layout // of a struct; nil if it is none
}

type fieldKind byte

const (
	fixedField    fieldKind = iota
	textField               // text or bytes, with their length
	arrayField              // of structs, of what is fixed, or of texts (size 0)
	optionalField           // a struct or nothing
)

// layoutKey is a request's key and version.
type layoutKey struct{ key, version int16 }

// layouts are those of all flexible requests but produce, which checkProduceShape
// knows.
var layouts = sync.OnceValue(func() map[layoutKey]layout {
	all := map[layoutKey]layout{}
	for key, span := range versions {
		if key == int16(kmsg.Produce) {
			continue
		}
		for v := span.least; v <= span.max; v++ {
			fresh := func() (kmsg.Request, reflect.Value) {
				req := kmsg.RequestForKey(key)
				req.SetVersion(v)
				return req, reflect.ValueOf(req).Elem()
			}
			if req, _ := fresh(); req.IsFlexible() {
				all[layoutKey{key, v}] = layoutOf(fresh)
			}
		}
	}
	return all
})

// probe makes a request, and returns a struct in it.
type probe func() (kmsg.Request, reflect.Value)

func layoutOf(fresh probe) layout {
	l := layout{}
	_, s := fresh()
	for i := range s.NumField() {
		if name := s.Type().Field(i).Name; name == "Version" || name == "UnknownTags" {
			continue
		}
		if f, ok := fieldOf(fresh, i); ok {
			l = append(l, f)
		}
	}
	return l
}

// fieldOf tells the layout of field i; false if the version does not have it, or
// has it among its tags.
func fieldOf(fresh probe, i int) (f fieldLayout, ok bool) {
	encoded := func(set func(field reflect.Value)) []byte {
		req, s := fresh()
		set(s.Field(i))
		return req.AppendTo(nil)
	}
	nothing := encoded(func(v reflect.Value) { v.SetZero() })
	_, s := fresh()
	switch t := s.Field(i).Type(); {
	case t.Kind() == reflect.String, t == reflect.TypeFor[*string](), t == reflect.TypeFor[[]byte]():
		one := encoded(func(v reflect.Value) {
			switch v.Kind() {
			case reflect.String:
				v.SetString("x")
			case reflect.Pointer:
				v.Set(reflect.ValueOf(new("x")))
			default:
				v.SetBytes([]byte("x"))
			}
		})
		return fieldLayout{kind: textField}, len(one) == len(nothing)+1
	case t.Kind() == reflect.Slice:
		n := func(n int) func(reflect.Value) {
			return func(v reflect.Value) { v.Set(reflect.MakeSlice(t, n, n)) }
		}
		one, two := len(encoded(n(1)))-len(nothing), len(encoded(n(2)))-len(nothing)
		f = fieldLayout{kind: arrayField}
		if e := t.Elem(); e.Kind() == reflect.Struct {
			f.each = layoutOf(inside(fresh, i, func(v reflect.Value) reflect.Value {
				v.Set(reflect.MakeSlice(t, 1, 1))
				return v.Index(0)
			}))
		} else if e.Kind() != reflect.String {
			f.size = int(e.Size())
		}
		return f, one > 0 && two == 2*one
	case t.Kind() == reflect.Pointer:
		f = fieldLayout{kind: optionalField}
		f.each = layoutOf(inside(fresh, i, func(v reflect.Value) reflect.Value {
			v.Set(reflect.New(t.Elem()))
			return v.Elem()
		}))
		return f, len(encoded(func(v reflect.Value) { v.Set(reflect.New(t.Elem())) })) > len(nothing)
	case t.Kind() == reflect.Struct:
		return f, false // there are none but among tags
	default:
		// A tag is not written when it has its default.
		a, b := encoded(func(v reflect.Value) { fill(v, 1) }), encoded(func(v reflect.Value) { fill(v, 0) })
		unset := encoded(func(reflect.Value) {})
		return fieldLayout{kind: fixedField, size: int(t.Size())}, len(a) == len(b) && len(a) == len(unset) && !bytes.Equal(a, b)
	}
}

// inside makes the requests of fresh with a struct in field i, and returns that.
func inside(fresh probe, i int, enter func(reflect.Value) reflect.Value) probe {
	return func() (kmsg.Request, reflect.Value) {
		req, s := fresh()
		inner := enter(s.Field(i))
		if d, ok := inner.Addr().Interface().(interface{ Default() }); ok {
			d.Default()
		}
		return req, inner
	}
}

// fill sets what has a fixed size.
func fill(v reflect.Value, n int64) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(n != 0)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(n))
		}
	default:
		v.SetInt(n)
	}
}

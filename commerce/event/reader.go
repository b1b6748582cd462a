package event

import (
	"fmt"
	"strconv"
	"sync"
	"unicode/utf8"
)

// MaxEventBytes is the longest value that the Parse functions of our own
// events read: 1 MiB, what Kafka carries by default.
const MaxEventBytes = 1 << 20

// maxDepth is how deep JSON may nest; the outermost object or array counts 1.
const maxDepth = 1000

// reader reads strict JSON in one pass. Its error sticks: after the first one
// every method returns a zero value, so callers look at it once, at the end.
type reader struct {
	s     string // the whole input: strings without escapes are parts of it
	i     int
	depth int
	limit int      // of depth
	keys  []string // names of the fields of all open objects, innermost last
	err   *parseError
}

// parseError names the field (empty for the whole value) and what is wrong.
type parseError struct {
	field  string
	detail string
	syntax bool // the JSON itself is at fault: the field says nothing
}

func (e *parseError) Error() string {
	if e.field == "" || e.syntax {
		return e.detail
	}
	return e.field + " " + e.detail
}

// under puts what the error names inside of field.
func (e *parseError) under(field string) {
	if e.field != "" && e.field != field {
		field += "." + e.field
	}
	e.field = field
}

// readers keeps readers for their room for keys. Nothing that was read refers
// to its reader.
var readers = sync.Pool{New: func() any { return &reader{keys: make([]string, 0, 32)} }}

// newReader returns a reader of value, which it copies. Its end or finish must
// be its last use.
func newReader(value []byte) *reader {
	r := readers.Get().(*reader)
	r.i, r.depth, r.limit, r.err = 0, 0, maxDepth, nil
	if len(value) > MaxEventBytes {
		r.err = &parseError{detail: "is larger than 1 MiB"}
		return r
	}
	r.s = string(value)
	return r
}

// finish checks that nothing follows the value, returns the error, if any, and
// gives the reader back.
func (r *reader) finish() *parseError {
	if r.peek(); r.err == nil && r.i < len(r.s) {
		r.syntax("unexpected data after the value")
	}
	err := r.err
	r.s, r.err = "", nil
	r.keys = r.keys[:0]
	if cap(r.keys) <= 1024 {
		readers.Put(r)
	}
	return err
}

// end is finish for the value of a topic.
func (r *reader) end(topic string) error {
	if err := r.finish(); err != nil {
		return fmt.Errorf("value of %s: %w", topic, err)
	}
	return nil
}

func (r *reader) syntax(what string) {
	if r.err == nil {
		r.err = &parseError{detail: "not strict JSON at byte " + strconv.Itoa(r.i) + ": " + what, syntax: true}
	}
}

// peek skips blanks and returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	for r.i < len(r.s) {
		c := r.s[r.i]
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		r.i++
	}
	return 0
}

// object is the iteration over the fields of one JSON object.
type object struct {
	r    *reader
	base int                 // where its names begin in r.keys
	n    int                 // fields so far
	got  int                 // required fields that were there
	key  string              // name of the current field
	set  map[string]struct{} // its names, once they are many
}

// manyKeys is from how many fields on a set beats comparing with each.
const manyKeys = 16

// object opens the object that must come next.
func (r *reader) object() object {
	o := object{r: r, base: len(r.keys)}
	if r.err != nil {
		return o
	}
	if r.peek() != '{' {
		r.mismatch("must be an object")
		return o
	}
	r.open()
	return o
}

// open steps into an object or array.
func (r *reader) open() {
	if r.depth++; r.depth > r.limit {
		r.syntax("nested deeper than " + strconv.Itoa(r.limit))
	}
	r.i++
}

// mismatch says that the value to come, if it is one, is of the wrong type.
func (r *reader) mismatch(detail string) {
	if r.skip(); r.err == nil {
		r.err = &parseError{detail: detail}
	}
}

// next steps to the next field, whose value must then be read or skipped.
func (o *object) next() bool {
	r := o.r
	if r.err != nil {
		return false
	}
	c := r.peek()
	if c == '}' {
		r.i++
		r.depth--
		r.keys = r.keys[:o.base]
		return false
	}
	if o.n > 0 {
		if c != ',' {
			r.syntax("expected , or }")
			return false
		}
		r.i++
		c = r.peek()
	}
	if c != '"' {
		r.syntax("expected a field name in quotes")
		return false
	}
	key := r.str()
	if r.err == nil && o.duplicate(key) {
		r.syntax("field " + strconv.Quote(shorten(key)) + " stands twice")
	}
	if r.err == nil && r.peek() != ':' {
		r.syntax("expected :")
	}
	if r.err != nil {
		return false
	}
	r.i++
	r.keys = append(r.keys, key)
	o.n++
	o.key = key
	return true
}

func (o *object) duplicate(key string) bool {
	if o.n < manyKeys {
		for _, k := range o.r.keys[o.base:] {
			if k == key {
				return true
			}
		}
		return false
	}
	if o.set == nil {
		o.set = make(map[string]struct{}, 2*manyKeys)
		for _, k := range o.r.keys[o.base:] {
			o.set[k] = struct{}{}
		}
	}
	before := len(o.set)
	o.set[key] = struct{}{}
	return len(o.set) == before
}

// require fails unless all the named fields were read by the methods for
// required ones. It comes after the last next, and lists exactly the fields
// read that way.
func (o *object) require(names ...string) {
	if o.r.err != nil || o.got == len(names) {
		return
	}
	seen := o.r.keys[o.base : o.base+o.n] // next has cut them off, but they are there
missing:
	for _, name := range names {
		for _, k := range seen {
			if k == name {
				continue missing
			}
		}
		o.r.err = &parseError{field: name, detail: "is missing"}
		return
	}
}

// fail says what is wrong with the current field.
func (o *object) fail(detail string) {
	if o.r.err == nil {
		o.r.err = &parseError{field: o.key, detail: detail}
	}
}

// object opens the current field's value, which must be an object; leave comes
// after its last field.
func (o *object) object() object {
	if o.r.err == nil && o.r.peek() == 'n' {
		o.required()
	}
	o.got++
	return o.r.object()
}

// leave gives an error in the object that was the current field's value its
// place.
func (o *object) leave() {
	if o.r.err != nil {
		o.r.err.under(o.key)
	}
}

// array is the iteration over the elements of one JSON array.
type array struct {
	r    *reader
	name string
	n    int
}

// array opens the current field's value, which must be an array.
func (o *object) array() array {
	a := array{r: o.r, name: o.key}
	switch {
	case o.r.err != nil:
	case o.r.peek() == '[':
		o.got++
		o.r.open()
	default:
		if t := o.required(); t.kind != kindNull {
			o.fail("must be an array")
		}
	}
	return a
}

// next steps to the next element, which must then be read. It gives an error
// that the last one met its place in the array.
func (a *array) next() bool {
	r := a.r
	if r.err != nil {
		if a.n > 0 {
			r.err.under(a.name + "[" + strconv.Itoa(a.n-1) + "]")
		}
		return false
	}
	c := r.peek()
	if c == ']' {
		r.i++
		r.depth--
		return false
	}
	if a.n > 0 {
		if c != ',' {
			r.syntax("expected , or ]")
			return false
		}
		r.i++
		if r.peek() == ']' {
			r.syntax("expected a value after ,")
			return false
		}
	}
	a.n++
	return true
}

// shorten keeps a text that someone else wrote from filling a message.
func shorten(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

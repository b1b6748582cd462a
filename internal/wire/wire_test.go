package wire_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/comptoir/comptoir/internal/wire"
)

// TestForms holds the bytes of each form, which are stored, and reads them back.
func TestForms(t *testing.T) {
	type id string
	var b []byte
	b = append(b, 7)
	b = wire.AppendText(b, id("é"))
	b = wire.AppendText(b, []byte(nil))
	b = wire.AppendFlag(b, true)
	b = wire.AppendFlag(b, false)
	b = wire.AppendNullable(b, nil)
	b = wire.AppendNullable(b, []byte{})
	b = wire.AppendNullable(b, []byte("k"))
	b = append(b, "fix"...)
	b = binary.AppendUvarint(b, math.MaxInt64)
	b = binary.AppendVarint(b, math.MinInt64)
	b = binary.AppendVarint(b, math.MaxInt64)
	b = binary.AppendVarint(b, -2)
	b = binary.AppendUvarint(b, 2)
	b = append(b, "rest"...)
	const want = "\x07" + "\x02é" + "\x00" + "\x01" + "\x00" + "\x00" + "\x01\x00" + "\x01\x01k" + "fix" +
		"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" +
		"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "\x03" + "\x02" + "rest"
	if string(b) != want {
		t.Fatalf("written %q, want %q", b, want)
	}

	data := bytes.Clone(b)
	d := wire.Decode("all forms", data).Version(7)
	clear(data) // nothing that was read may change with it
	text, none := d.Text(2), d.Text(0)
	yes, no := d.Flag(), d.Flag()
	null, empty, key := d.Nullable(9), d.Nullable(0), d.Nullable(1)
	var fixed [3]byte
	d.Fixed(fixed[:])
	large, lowest, highest := d.Uvarint(math.MaxInt64), d.Varint(), d.Varint()
	at, count, rest := d.Millis(), d.Count(2, 2), d.Rest()
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	if text != "é" || none != "" || !yes || no || string(fixed[:]) != "fix" || rest != "rest" {
		t.Errorf("text %q, none %q, yes %v, no %v, fixed %q, rest %q", text, none, yes, no, fixed, rest)
	}
	if null != nil || empty == nil || len(empty) > 0 || string(key) != "k" {
		t.Errorf("null %#v, empty %#v, key %q", null, empty, key)
	}
	if large != math.MaxInt64 || lowest != math.MinInt64 || highest != math.MaxInt64 || count != 2 {
		t.Errorf("large %d, lowest %d, highest %d, count %d", large, lowest, highest, count)
	}
	if want := time.Date(1969, 12, 31, 23, 59, 59, 998e6, time.UTC); !at.Equal(want) || at.Location() != time.UTC {
		t.Errorf("time %v, want %v", at, want)
	}
}

// TestLimits reads one form at its limit and just outside.
func TestLimits(t *testing.T) {
	over64 := strings.Repeat("\xff", 9)
	for _, c := range []struct {
		name string
		data string
		read func(d *wire.Decoder)
		ok   bool
	}{
		{"the version", "\x01", func(d *wire.Decoder) { d.Version(1) }, true},
		{"another version", "\x02", func(d *wire.Decoder) { d.Version(1) }, false},
		{"no version", "", func(d *wire.Decoder) { d.Version(0) }, false},
		{"nothing", "", func(*wire.Decoder) {}, true},
		{"a byte left", "\x00", func(*wire.Decoder) {}, false},
		{"the rest is taken", "\x00\x01", func(d *wire.Decoder) { d.Rest() }, true},
		{"the caller refuses", "\x00", func(d *wire.Decoder) { d.Byte(); d.Fail() }, false},
		{"no byte", "", func(d *wire.Decoder) { d.Byte() }, false},
		{"a flag of 2", "\x02", func(d *wire.Decoder) { d.Flag() }, false},
		{"a number at its limit", "\x80\x01", func(d *wire.Decoder) { d.Uvarint(128) }, true},
		{"a number over its limit", "\x80\x01", func(d *wire.Decoder) { d.Uvarint(127) }, false},
		{"no number is that small", "\x00", func(d *wire.Decoder) { d.Uvarint(-1) }, false},
		{"a number in a long form", "\x81\x00", func(d *wire.Decoder) { d.Uvarint(1) }, true},
		{"a number that breaks off", "\x80", func(d *wire.Decoder) { d.Uvarint(math.MaxInt64) }, false},
		{"a number over 63 bits", over64 + "\x01", func(d *wire.Decoder) { d.Uvarint(math.MaxInt64) }, false},
		{"the same, signed", over64 + "\x01", func(d *wire.Decoder) { d.Varint() }, true},
		{"a number over 64 bits", over64 + "\x02", func(d *wire.Decoder) { d.Varint() }, false},
		{"a number of eleven bytes", over64 + "\xff\x00", func(d *wire.Decoder) { d.Varint() }, false},
		{"no signed number", "", func(d *wire.Decoder) { d.Varint() }, false},
		{"a text at its limit", "\x02ab", func(d *wire.Decoder) { d.Text(2) }, true},
		{"a text over its limit", "\x02ab", func(d *wire.Decoder) { d.Text(1) }, false},
		{"a text that breaks off", "\x03ab", func(d *wire.Decoder) { d.Text(9) }, false},
		{"a text longer than memory", over64 + "\x01", func(d *wire.Decoder) { d.Text(math.MaxInt) }, false},
		{"null, then something", "\x00\x01", func(d *wire.Decoder) { d.Nullable(9) }, false},
		{"not null, but missing", "\x01", func(d *wire.Decoder) { d.Nullable(9) }, false},
		{"nullable over its limit", "\x01\x02ab", func(d *wire.Decoder) { d.Nullable(1) }, false},
		{"fixed bytes", "abc", func(d *wire.Decoder) { d.Fixed(make([]byte, 3)) }, true},
		{"fixed bytes that break off", "ab", func(d *wire.Decoder) { d.Fixed(make([]byte, 3)) }, false},
		{"a count that fits", "\x02abcd", func(d *wire.Decoder) { d.Count(2, 2); d.Rest() }, true},
		{"a count over its limit", "\x02abcd", func(d *wire.Decoder) { d.Count(1, 2); d.Rest() }, false},
		{"a count over the bytes", "\x02abc", func(d *wire.Decoder) { d.Count(2, 2); d.Rest() }, false},
	} {
		d := wire.Decode(c.name, []byte(c.data))
		c.read(d)
		if err := d.End(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestBad shows that a bad decoder yields nothing more, and reports the first
// failure.
func TestBad(t *testing.T) {
	d := wire.Decode("a letter", []byte("\x01\x09\x01\x01\x01\x01\x01\x01")).Version(1)
	d.Uvarint(8)
	fixed := [1]byte{5}
	d.Fixed(fixed[:])
	if d.Byte() != 0 || d.Flag() || d.Uvarint(9) != 0 || d.Varint() != 0 || d.Millis().UnixMilli() != 0 || d.Text(9) != "" ||
		d.Nullable(9) != nil || d.Count(9, 1) != 0 || d.Rest() != "" || fixed[0] != 5 {
		t.Error("a bad decoder goes on reading")
	}
	const want = "a letter: not understood at byte 1 of 8: it is damaged, or a newer version wrote it"
	for range 2 {
		if err := d.End(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// FuzzDecoder reads any data in the ways that a script of bytes gives, and
// compares with the model: never a panic, and never another value.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x05\x06\x07"), []byte("\x01\x01\x05\x05\x02ab\x01\x02ab\x00abc\x01\x00rest"), int64(3))
	f.Add([]byte("\x03\x03\x02"), []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\xff\x00\x81\x00"), int64(math.MaxInt64))
	f.Add([]byte("\x04"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), int64(math.MaxInt64))
	f.Add([]byte("\x02"), []byte("\x00"), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, script, data []byte, limit int64) {
		d, m := wire.Decode("fuzz", data), model{left: data}
		least := int(uint64(limit)%7) + 1
		same := func(what string, got, want any) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %#v, want %#v; %d bytes left", what, got, want, len(m.left))
			}
		}
		for _, op := range script {
			switch op % 9 {
			case 0:
				same("byte", d.Byte(), m.fixed(1)[0])
			case 1:
				same("flag", d.Flag(), m.flag())
			case 2:
				same("uvarint", d.Uvarint(limit), m.uvarint(limit))
			case 3:
				same("varint", d.Varint(), m.varint())
			case 4:
				same("text", d.Text(int(limit)), string(m.text(limit)))
			case 5:
				want := []byte(nil)
				if m.flag() {
					want = append([]byte{}, m.text(limit)...)
				}
				same("nullable", d.Nullable(int(limit)), want)
			case 6:
				to := make([]byte, least)
				d.Fixed(to)
				same("fixed", to, m.fixed(least))
			case 7:
				want := m.uvarint(limit)
				if want > int64(len(m.left)/least) {
					want = 0
					m.fail()
				}
				same("count", d.Count(int(limit), least), int(want))
			case 8:
				d.Version(op)
				if c := m.fixed(1); c[0] != op {
					m.fail()
				}
			}
		}
		if err := d.End(); (err == nil) != (!m.bad && len(m.left) == 0) {
			t.Fatalf("end: %v; model: bad %v, %d bytes left", err, m.bad, len(m.left))
		}
		same("rest", d.Rest(), "")
	})
}

// model reads as a Decoder does, by encoding/binary.
type model struct {
	left []byte
	bad  bool
}

func (m *model) fail() { m.left, m.bad = nil, true }

func (m *model) fixed(n int) []byte {
	to := make([]byte, n)
	if n > len(m.left) {
		m.fail()
		return to
	}
	copy(to, m.left)
	m.left = m.left[n:]
	return to
}

func (m *model) flag() bool {
	c := m.fixed(1)[0]
	if c > 1 {
		m.fail()
	}
	return c == 1
}

func (m *model) uvarint(limit int64) int64 {
	v, n := binary.Uvarint(m.left)
	if n <= 0 || limit < 0 || v > uint64(limit) {
		m.fail()
		return 0
	}
	m.left = m.left[n:]
	return int64(v)
}

func (m *model) varint() int64 {
	v, n := binary.Varint(m.left)
	if n <= 0 {
		m.fail()
		return 0
	}
	m.left = m.left[n:]
	return v
}

func (m *model) text(limit int64) []byte {
	n := m.uvarint(limit)
	if n > int64(len(m.left)) {
		m.fail()
		return nil
	}
	return m.fixed(int(n))
}

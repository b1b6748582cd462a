package audit

import (
	"errors"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits of what is read as JSON.
const (
	maxDepth = 1000     // of an order; the outermost value counts 1
	maxBytes = 16 << 20 // of any value: no record of ours comes near it
	manyKeys = 16       // from here on a set beats comparing names one by one
)

var errStrict = errors.New("is not strict JSON")

type kind byte

const (
	kindNone kind = iota // absent
	kindNull
	kindBool
	kindText
	kindNumber
	kindObject
	kindArray
)

// value is one JSON value. It shares the text that it was read from.
type value struct {
	kind kind
	text string  // of a text what it says, of a number how it is spelled
	raw  string  // as spelled
	name string  // in an object: the member's name
	kids []value // members or elements
}

// get returns a member; one that is null counts as absent.
func (v *value) get(name string) *value {
	for i := range v.kids {
		if k := &v.kids[i]; k.name == name && k.kind != kindNull {
			return k
		}
	}
	return &absent
}

var absent value

// readJSON reads the one value that data must be, as strictly as the contract
// wants: UTF-8, no name twice in an object, no lone surrogate, at most depth
// levels.
func readJSON(data []byte, depth int) (v value, err error) {
	if len(data) > maxBytes || !utf8.Valid(data) {
		return value{}, errStrict
	}
	p := parsers.Get().(*parser)
	p.s, p.i, p.left, p.bad = string(data), 0, depth, false
	v = p.read()
	p.blanks()
	bad := p.bad || p.i != len(p.s)
	if p.s = ""; cap(p.open) <= manyOpen {
		parsers.Put(p)
	}
	if bad {
		return value{}, errStrict
	}
	return v, nil
}

// parser reads one value after the other. Once bad it stays bad.
type parser struct {
	s    string
	i    int
	left int // levels that may be opened
	bad  bool
	// open are the members and elements so far of what is not closed yet.
	open []value
}

// manyOpen is how many values a parser may keep room for.
const manyOpen = 256

var parsers = sync.Pool{New: func() any { return new(parser) }}

// closed takes what was opened since, in room of just its size.
func (p *parser) closed(since int) []value {
	kids := make([]value, len(p.open)-since)
	copy(kids, p.open[since:])
	clear(p.open[since:])
	p.open = p.open[:since]
	return kids
}

func (p *parser) blanks() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next skips blanks and returns the byte that comes, 0 at the end.
func (p *parser) next() byte {
	if p.blanks(); p.i < len(p.s) && !p.bad {
		return p.s[p.i]
	}
	return 0
}

func (p *parser) read() (v value) {
	c := p.next()
	begin := p.i
	switch {
	case c == '"':
		v.kind, v.text = kindText, p.quoted()
	case c == '{' || c == '[':
		if p.left--; p.left < 0 {
			p.bad = true
			return value{}
		}
		p.i++
		if c == '{' {
			v.kind, v.kids = kindObject, p.object()
		} else {
			v.kind, v.kids = kindArray, p.array()
		}
		p.left++
	case c == '-' || c >= '0' && c <= '9':
		v.kind = kindNumber
		p.number()
		v.text = p.s[begin:p.i]
	case p.word("true"), p.word("false"):
		v.kind, v.text = kindBool, p.s[begin:p.i]
	case p.word("null"):
		v.kind, v.text = kindNull, p.s[begin:p.i]
	default:
		p.bad = true
	}
	if !p.bad {
		v.raw = p.s[begin:p.i]
	}
	return v
}

func (p *parser) word(w string) bool {
	is := strings.HasPrefix(p.s[p.i:], w)
	if is {
		p.i += len(w)
	}
	return is
}

func (p *parser) array() []value {
	if p.next() == ']' {
		p.i++
		return nil
	}
	since := len(p.open)
	for !p.bad {
		p.open = append(p.open, p.read())
		if !p.more(']') {
			break
		}
	}
	return p.closed(since)
}

func (p *parser) object() []value {
	if p.next() == '}' {
		p.i++
		return nil
	}
	since := len(p.open)
	var seen map[string]bool
	for !p.bad {
		if p.next() != '"' {
			p.bad = true
			break
		}
		name, members := p.quoted(), p.open[since:]
		if len(members) == manyKeys {
			seen = make(map[string]bool, 2*manyKeys)
			for i := range members {
				seen[members[i].name] = true
			}
		}
		twice := seen[name]
		if seen == nil {
			for i := range members {
				twice = twice || members[i].name == name
			}
		} else {
			seen[name] = true
		}
		if twice || p.next() != ':' {
			p.bad = true
			break
		}
		p.i++
		m := p.read()
		m.name = name
		p.open = append(p.open, m)
		if !p.more('}') {
			break
		}
	}
	return p.closed(since)
}

// more reads the comma before another element, or the end.
func (p *parser) more(end byte) bool {
	switch p.next() {
	case ',':
		p.i++
		return true
	case end:
		p.i++
	default:
		p.bad = true
	}
	return false
}

func (p *parser) digits() (n int) {
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
		n++
	}
	return n
}

func (p *parser) number() {
	if p.s[p.i] == '-' {
		p.i++
	}
	first := p.i
	if n := p.digits(); n == 0 || n > 1 && p.s[first] == '0' {
		p.bad = true
	}
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		p.bad = p.digits() == 0 || p.bad
	}
	if p.i < len(p.s) && p.s[p.i]|0x20 == 'e' {
		if p.i++; p.i < len(p.s) && (p.s[p.i] == '+' || p.s[p.i] == '-') {
			p.i++
		}
		p.bad = p.digits() == 0 || p.bad
	}
}

// quoted reads the text whose opening quote comes next.
func (p *parser) quoted() string {
	p.i++
	begin := p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			text := p.s[begin:p.i]
			p.i++
			return text
		case c == '\\':
			return p.escaped(begin)
		case c < 0x20:
			p.bad = true
			return ""
		}
		p.i++
	}
	p.bad = true
	return ""
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escaped goes on with a text whose first backslash is reached.
func (p *parser) escaped(begin int) string {
	b := []byte(p.s[begin:p.i])
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return string(b)
		case c < 0x20:
			p.bad = true
			return ""
		case c != '\\':
			b = append(b, c)
			continue
		case p.i == len(p.s):
			p.bad = true
			return ""
		}
		c = p.s[p.i]
		p.i++
		if plain, ok := escapes[c]; ok {
			b = append(b, plain)
			continue
		}
		r, ok := p.unit()
		if c != 'u' || !ok || r >= 0xdc00 && r <= 0xdfff {
			p.bad = true
			return ""
		}
		if r >= 0xd800 && r <= 0xdbff {
			if !strings.HasPrefix(p.s[p.i:], `\u`) {
				p.bad = true
				return ""
			}
			p.i += 2
			low, ok := p.unit()
			if !ok || low < 0xdc00 || low > 0xdfff {
				p.bad = true
				return ""
			}
			r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
		}
		b = utf8.AppendRune(b, r)
	}
	p.bad = true
	return ""
}

// unit reads the four hexadecimal digits of an escape.
func (p *parser) unit() (r rune, ok bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	for range 4 {
		c := p.s[p.i]
		p.i++
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

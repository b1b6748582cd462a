package event

import (
	"encoding/base64"
	"strconv"
	"time"
)

// MaxErrorRecord is the longest value of a record of commandes.erreurs, in
// bytes. If it would be exceeded, the original value is left out.
const MaxErrorRecord = 900_000

// Origin says where an accused record stands.
type Origin struct {
	Topic     string // topic
	Partition int32  // partition
	Offset    int64  // offset
}

// ErrorRecord is an accused order with what speaks against it, in
// commandes.erreurs.
type ErrorRecord struct {
	Order    ID        // commandeId, empty when it could not be read
	Severity string    // gravite: SeverityReject or SeverityAlert
	Problems []Problem // erreurs
	Value    []byte    // the accused record's value; nil for a tombstone or when Size is given
	Strict   bool      // Value is strict JSON and stands as it is (commande), else as base64 (commande_brute)
	Size     int64     // taille: length of a value that was left out
	Origin   Origin    // origine
	At       time.Time // timestamp
}

// AppendErrorRecord appends the value of a record of commandes.erreurs. The id
// is nil when it could not be read; value is the accused record's, nil for a
// tombstone, and strict what ParseOrder said of it. If the result would be
// longer than MaxErrorRecord, the value's length stands in its place.
func AppendErrorRecord(b []byte, id *ID, severity string, problems []Problem, value []byte, strict bool, origin Origin, at time.Time) []byte {
	e := ErrorRecord{Severity: severity, Problems: problems, Value: value, Strict: strict, Origin: origin, At: at}
	if id != nil {
		e.Order = *id
	}
	return e.AppendJSON(b)
}

// AppendJSON appends e as the value of a record of commandes.erreurs. If that
// would be longer than MaxErrorRecord, the length of e.Value stands in its
// place.
func (e ErrorRecord) AppendJSON(b []byte) []byte {
	start := len(b)
	if e.Size == 0 && len(e.Value) <= MaxErrorRecord {
		if b = e.append(b); len(b)-start <= MaxErrorRecord {
			return b
		}
	}
	if e.Size == 0 {
		e.Size = int64(len(e.Value))
	}
	return e.append(b[:start])
}

func (e *ErrorRecord) append(b []byte) []byte {
	b = append(b, '{')
	if e.Order != "" {
		b = append(b, `"commandeId":`...)
		b = e.Order.AppendJSON(b)
		b = append(b, ',')
	}
	b = append(b, `"gravite":`...)
	b = appendString(b, e.Severity)
	b = append(b, `,"erreurs":[`...)
	for i, p := range e.Problems {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.AppendJSON(b)
	}
	b = append(b, ']')
	switch {
	case e.Size > 0:
		b = append(b, `,"taille":`...)
		b = strconv.AppendInt(b, e.Size, 10)
	case e.Value == nil:
		b = append(b, `,"commande":null`...)
	case e.Strict:
		b = append(b, `,"commande":`...)
		b = append(b, e.Value...)
	default:
		b = append(b, `,"commande_brute":"`...)
		b = base64.StdEncoding.AppendEncode(b, e.Value)
		b = append(b, '"')
	}
	b = append(b, `,"origine":{"topic":`...)
	b = appendString(b, e.Origin.Topic)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(e.Origin.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, e.Origin.Offset, 10)
	b = append(b, '}')
	return appendTimestamp(b, e.At)
}

// AppendJSON appends p as an element of `erreurs`, also in answers over HTTP.
func (p Problem) AppendJSON(b []byte) []byte {
	b = append(b, `{"code":`...)
	b = appendString(b, p.Code)
	b = append(b, `,"champ":`...)
	b = appendString(b, p.Field)
	b = append(b, `,"detail":`...)
	b = appendString(b, p.Detail)
	return append(b, '}')
}

// ParseErrorRecord reads the value of a record of commandes.erreurs. Value is
// the accused record's value again, byte for byte but for blanks around it.
func ParseErrorRecord(value []byte) (e ErrorRecord, err error) {
	r := newReader(value)
	r.limit = maxDepth + 1 // an order of the greatest depth stands inside
	o := r.object()
	for o.next() {
		switch o.key {
		case "commandeId":
			e.Order = o.optionalID()
		case "gravite":
			e.Severity = o.text()
		case "erreurs":
			a := o.array()
			for a.next() {
				e.Problems = append(e.Problems, parseProblem(r))
			}
		case "commande":
			if raw := r.raw(); raw != "null" {
				e.Value, e.Strict = []byte(raw), true
			}
		case "commande_brute":
			if e.Value, err = base64.StdEncoding.DecodeString(o.optionalText()); err != nil {
				o.fail("must be base64")
			}
		case "taille":
			if e.Size = o.optionalInteger(); e.Size < 0 {
				o.fail("must not be negative")
			}
		case "origine":
			e.Origin = parseOrigin(&o)
		case "timestamp":
			e.At = o.time()
		default:
			o.skip()
		}
	}
	o.require("gravite", "erreurs", "origine", "timestamp")
	return e, r.end("commandes.erreurs")
}

func parseProblem(r *reader) (p Problem) {
	o := r.object()
	for o.next() {
		switch o.key {
		case "code":
			p.Code = o.text()
		case "champ":
			p.Field = o.text()
		case "detail":
			p.Detail = o.text()
		default:
			o.skip()
		}
	}
	o.require("code", "champ", "detail")
	return p
}

func parseOrigin(outer *object) (origin Origin) {
	o := outer.object()
	for o.next() {
		switch o.key {
		case "topic":
			origin.Topic = o.text()
		case "partition":
			n := o.integer()
			if origin.Partition = int32(n); int64(origin.Partition) != n {
				o.fail("is too large")
			}
		case "offset":
			origin.Offset = o.integer()
		default:
			o.skip()
		}
	}
	o.require("topic", "partition", "offset")
	outer.leave()
	return origin
}

package trace

import (
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// HeaderTrace names the header, of HTTP requests and of records, that carries
// the W3C trace context.
const HeaderTrace = "traceparent"

// maxTraceParent is the longest trace context that is read, in bytes. Version
// 00 has 55; later ones may be longer.
const maxTraceParent = 256

// parse reads a trace context as W3C Trace Context says: lower-case hexadecimal
// digits, ids that are not all zero, no version ff, nothing behind the flags in
// version 00. ok is false for anything else. It allocates nothing.
func parse[T string | []byte](s T) (sc trace.SpanContext, ok bool) {
	if len(s) < 55 || len(s) > maxTraceParent || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return sc, false
	}
	var version, flags [1]byte
	var id trace.TraceID
	var parent trace.SpanID
	if !digits(version[:], s[:2]) || !digits(id[:], s[3:35]) || !digits(parent[:], s[36:52]) || !digits(flags[:], s[53:55]) {
		return sc, false
	}
	switch {
	case version[0] == 0xff, version[0] == 0 && len(s) > 55, len(s) > 55 && s[55] != '-', !id.IsValid(), !parent.IsValid():
		return sc, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: parent, TraceFlags: trace.TraceFlags(flags[0]), Remote: true,
	}), true
}

// digits decodes lower-case hexadecimal digits, two for each byte of out.
func digits[T string | []byte](out []byte, s T) bool {
	for i := range out {
		hi, ok1 := digit(s[2*i])
		lo, ok2 := digit(s[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		out[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// format writes a span context as a trace context of version 00.
func format(sc trace.SpanContext) string {
	id, parent := sc.TraceID(), sc.SpanID()
	b := make([]byte, 0, 55)
	b = hex.AppendEncode(append(b, "00-"...), id[:])
	b = hex.AppendEncode(append(b, '-'), parent[:])
	b = hex.AppendEncode(append(b, '-'), []byte{byte(sc.TraceFlags())})
	return string(b)
}

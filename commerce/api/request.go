package api

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/web"
)

const (
	defaultPage = 50
	maxPage     = 500
)

// parameters reads a query whose parameters may only have the given names, each
// once. One that is empty counts as absent.
func parameters(r *http.Request, names ...string) (map[string]string, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read: %v", err)
	}
	out := make(map[string]string, len(q))
	for name, values := range q {
		switch {
		case !slices.Contains(names, name):
			known := "none"
			if len(names) > 0 {
				known = strings.Join(names, ", ")
			}
			return nil, badRequest("unknown parameter %q; this route takes %s", name, known)
		case len(values) > 1:
			return nil, badRequest("parameter %q is given %d times", name, len(values))
		case values[0] != "":
			out[name] = values[0]
		}
	}
	return out, nil
}

// pathID reads the id in the path.
func pathID(r *http.Request) (event.ID, error) {
	id := event.ID(r.PathValue("id"))
	if !id.Valid() {
		return "", badRequest("the id in the path is none: it has 1 to 200 bytes of UTF-8 without control characters, percent-encoded")
	}
	return id, nil
}

// limit reads the parameter limite.
func limit(q map[string]string) (int, error) {
	s, ok := q["limite"]
	if !ok {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPage || s[0] == '+' {
		return 0, badRequest("parameter \"limite\" must be an integer from 1 to %d", maxPage)
	}
	return n, nil
}

// The cursors of lists. Clients must not look inside: a letter says which list
// one belongs to.

func orderCursor(number int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{'c'}, uint64(number)))
}

func productCursor(id event.ID) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{'p'}, id...))
}

var errCursor = badRequest("parameter \"apres\" must be the \"suivant\" of an earlier answer of this route")

func parseOrderCursor(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 9 || b[0] != 'c' {
		return 0, errCursor
	}
	n := int64(binary.BigEndian.Uint64(b[1:]))
	if n < 1 {
		return 0, errCursor
	}
	return n, nil
}

func parseProductCursor(s string) (event.ID, error) {
	if s == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != 'p' || !event.ID(b[1:]).Valid() {
		return "", errCursor
	}
	return event.ID(b[1:]), nil
}

// traceParent is the trace context for the messages of a request, empty for
// none.
func (a *API) traceParent(r *http.Request) string {
	if a.cfg.TraceParent != nil {
		if s := a.cfg.TraceParent(r); s != "" {
			return s
		}
	}
	if s := r.Header.Get("Traceparent"); validTraceParent(s) {
		return s
	}
	return ""
}

// maxTraceParent is the longest trace context that the stages pass on.
const maxTraceParent = 256

// validTraceParent says whether s is a W3C traceparent. Versions after 00 may
// have more parts, which begin with a dash.
func validTraceParent(s string) bool {
	if len(s) < 55 || len(s) > maxTraceParent || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !lowerHex(version) || !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags) {
		return false
	}
	if version == "ff" || strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	return len(s) == 55 || version != "00" && s[55] == '-'
}

func lowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// body reads a JSON body after it was made sure that there is no query.
func body(r *http.Request) ([]byte, error) {
	if _, err := parameters(r); err != nil {
		return nil, err
	}
	return web.Body(r)
}

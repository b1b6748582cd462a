// Package web is what every HTTP listener of Comptoir shares: problem details,
// health, metrics, middleware and the server itself. It must not know any
// route's meaning.
package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path"
	"strconv"
)

// Codes of problems that are not about one route's matter.
const (
	CodeBadRequest   = "REQUETE_INVALIDE"
	CodeForbidden    = "ORIGINE_REFUSEE"
	CodeNotFound     = "INTROUVABLE"
	CodeMethod       = "METHODE_REFUSEE"
	CodeTooLarge     = "CORPS_TROP_GRAND"
	CodeMediaType    = "TYPE_DE_CONTENU_REFUSE"
	CodeMisdirected  = "HOTE_REFUSE"
	CodeTimeout      = "DELAI_DEPASSE"
	CodeInternal     = "ERREUR_INTERNE"
	CodeUnavailable  = "INDISPONIBLE"
	problemMediaType = "application/problem+json"
)

// Problem is an RFC 9457 problem detail. It is an error, so that a handler's
// parts can return one.
type Problem struct {
	// Status is the HTTP status, 400 to 599.
	Status int
	// Code is stable: programs compare it.
	Code string
	// Detail is for people and says what to do.
	Detail string
	// RetryAfter is sent as the header of that name, in seconds, if above 0.
	RetryAfter int
	// More are additional members, such as "erreurs".
	More map[string]any
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Problemf makes a Problem with a formatted detail.
func Problemf(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// MarshalJSON writes the members of RFC 9457, "code" and those of More.
func (p *Problem) MarshalJSON() ([]byte, error) {
	m := maps.Clone(p.More)
	if m == nil {
		m = map[string]any{}
	}
	m["type"] = "about:blank"
	m["title"] = http.StatusText(p.Status)
	m["status"] = p.Status
	m["code"] = p.Code
	if p.Detail != "" {
		m["detail"] = p.Detail
	}
	return json.Marshal(m)
}

// WriteProblem answers with err: as it is if a *Problem is in its chain, else
// as an internal error whose text stays inside (the caller logs it).
func WriteProblem(w http.ResponseWriter, err error) {
	var p *Problem
	if !errors.As(err, &p) {
		p = Problemf(http.StatusInternalServerError, CodeInternal, "the server failed; its log says why")
	}
	body, err := json.Marshal(p)
	if err != nil { // a value in More that is not JSON: a programming error
		p = Problemf(http.StatusInternalServerError, CodeInternal, "the answer could not be written")
		body, _ = json.Marshal(p)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	write(w, p.Status, problemMediaType, body)
}

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteProblem(w, fmt.Errorf("write answer: %w", err))
		return
	}
	write(w, status, "application/json", body)
}

func write(w http.ResponseWriter, status int, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
}

// Body reads a JSON request's body whole. Its error is a *Problem: 415 if the
// content type is not application/json, 413 over the limit of Chain, 408 if it
// does not arrive in time, 503 if the server stops before it is whole, 400 if
// the client breaks off. It does not parse.
func Body(r *http.Request) ([]byte, error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return nil, Problemf(http.StatusUnsupportedMediaType, CodeMediaType, "send Content-Type: application/json")
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, bodyProblem(err)
	}
	return b, nil
}

// bodyProblem says why a body could not be read.
func bodyProblem(err error) *Problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return Problemf(http.StatusRequestEntityTooLarge, CodeTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, errStopping):
		p := Problemf(http.StatusServiceUnavailable, CodeUnavailable, "the server is stopping; nothing was done")
		p.RetryAfter = 1
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Problemf(http.StatusRequestTimeout, CodeTimeout, "the body did not arrive in time; nothing was done")
	}
	return Problemf(http.StatusBadRequest, CodeBadRequest, "the body could not be read: %v", err)
}

// Routes serves mux, but answers what it has no route for with problem
// details: 404, and 405 with Allow. A path that only resembles one of ours, such
// as //items or /items/., is none: mux would redirect, which a program follows
// with another method or not at all.
func Routes(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !clean(r.URL.EscapedPath()) {
			WriteProblem(w, Problemf(http.StatusNotFound, CodeNotFound, "no such path: %s", r.URL.Path))
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var seen header
		h.ServeHTTP(&seen, r)
		if seen.status == http.StatusMethodNotAllowed {
			allow := seen.Header().Get("Allow")
			w.Header().Set("Allow", allow)
			WriteProblem(w, Problemf(seen.status, CodeMethod, "%s takes %s, not %s", r.URL.Path, allow, r.Method))
			return
		}
		WriteProblem(w, Problemf(http.StatusNotFound, CodeNotFound, "no such path: %s", r.URL.Path))
	})
}

// clean says whether p has no empty part and none of dots, which mux takes out.
func clean(p string) bool {
	c := path.Clean("/" + p)
	return p == c || c != "/" && p == c+"/"
}

// header is a ResponseWriter that keeps only status and headers.
type header struct {
	h      http.Header
	status int
}

func (w *header) Header() http.Header {
	if w.h == nil {
		w.h = http.Header{}
	}
	return w.h
}
func (w *header) WriteHeader(status int)      { w.status = status }
func (w *header) Write(b []byte) (int, error) { return len(b), nil }

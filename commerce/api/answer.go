package api

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"strconv"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

// document is the OpenAPI document. A test holds it against the code.
//
//go:embed openapi.yaml
var document []byte

// Codes of problems of these routes, beside those of package web.
const (
	codeIncoherent = "COMMANDE_INCOHERENTE"
	codeRunning    = "REQUETE_EN_COURS"
	codeKeyReused  = "CLE_REUTILISEE"
)

// retryAfter is when who got a 503 should come again, in seconds.
const retryAfter = 1

const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
)

// fail answers with what went wrong: this is the one place that maps errors to
// HTTP.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *web.Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, orderdb.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p = unavailable("the order database does not answer; nothing is lost by trying again")
	default:
		a.cfg.Logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "route", r.Pattern, "error", err)
	}
	if p != nil {
		err = p
	}
	web.WriteProblem(w, err)
}

func unavailable(detail string) *web.Problem {
	p := web.Problemf(http.StatusServiceUnavailable, web.CodeUnavailable, "%s", detail)
	p.RetryAfter = retryAfter
	return p
}

func badRequest(format string, args ...any) *web.Problem {
	return web.Problemf(http.StatusBadRequest, web.CodeBadRequest, format, args...)
}

// send writes a whole answer.
func send(w http.ResponseWriter, status int, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

func sendJSON(w http.ResponseWriter, status int, body []byte) {
	send(w, status, mediaJSON, append(body, '\n'))
}

// sendAnswer writes an answer as it was, or may be, kept under an idempotency
// key.
func sendAnswer(w http.ResponseWriter, ans orderdb.Answer) {
	mediaType := mediaJSON
	if ans.Status >= 400 {
		mediaType = mediaProblem
	}
	if ans.Location != "" {
		w.Header().Set("Location", ans.Location)
	}
	send(w, ans.Status, mediaType, ans.Body)
}

// problemAnswer is a problem as it is kept. It is made for every order, though
// few need it, hence by hand.
func problemAnswer(status int, code, detail string) orderdb.Answer {
	b := make([]byte, 0, 192+len(detail))
	b = append(b, `{"type":"about:blank","title":`...)
	b = event.AppendString(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":`...)
	b = event.AppendString(b, code)
	b = append(b, `,"detail":`...)
	b = event.AppendString(b, detail)
	b = append(b, '}', '\n')
	return orderdb.Answer{Status: status, Body: b}
}

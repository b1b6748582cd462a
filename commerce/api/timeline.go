package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/commerce/orderdb"
)

// payloadBatch is how many records are held in memory at once for a timeline:
// more than most orders have, and few enough for records of the usual greatest
// size, 1 MiB.
const payloadBatch = 32

const (
	warnNoPayloads = "les valeurs sont indisponibles : Kafka ne répond pas"
	warnOmitted    = "des valeurs trop grandes sont omises"
	warnTruncated  = "seuls les premiers enregistrements sont donnés"
)

// getTimeline is GET /commandes/{id}/evenements, as JSON or as a stream.
func (a *API) getTimeline(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	if _, err := parameters(r); err != nil {
		return err
	}
	w.Header().Set("Vary", "Accept")
	if prefersEvents(r) {
		return a.stream(w, r, id)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	if _, err := a.order(ctx, id); err != nil {
		return err
	}
	entries, err := a.cfg.DB.Timeline(ctx, id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	a.writeTimeline(ctx, w, id, entries)
	return nil
}

// writeTimeline writes the answer piece by piece, so that not all payloads have
// to be in memory at once. From its first byte on the status is 200, and what
// fails is a warning at the end.
func (a *API) writeTimeline(ctx context.Context, w http.ResponseWriter, id event.ID, entries []orderdb.Entry) {
	warning := ""
	if len(entries) >= orderdb.TimelineLimit {
		warning = warnTruncated
	}
	b := id.AppendJSON([]byte(`{"commandeId":`))
	b = append(b, `,"evenements":[`...)
	for first := 0; first < len(entries); first += payloadBatch {
		batch := entries[first:min(first+payloadBatch, len(entries))]
		payloads := a.fetch(ctx, batch)
		for i, e := range batch {
			if first+i > 0 {
				b = append(b, ',')
			}
			p, lacks := payload(payloads, i)
			if lacks != "" {
				warning = lacks
			}
			b = appendEvent(b, e, waited(entries, first+i), p)
			b = append(b, '}')
		}
		if _, err := w.Write(b); err != nil {
			return // the client is gone
		}
		b = b[:0]
	}
	b = append(b, ']')
	if warning != "" {
		b = event.AppendString(append(b, `,"avertissement":`...), warning)
	}
	_, _ = w.Write(append(b, '}', '\n'))
}

// fetch returns the payloads of entries, nil if they cannot be had.
func (a *API) fetch(ctx context.Context, entries []orderdb.Entry) []Payload {
	payloads, err := a.cfg.Payloads.Fetch(ctx, entries)
	if err == nil && len(payloads) != len(entries) {
		err = fmt.Errorf("%d payloads for %d entries", len(payloads), len(entries))
	}
	if err != nil {
		a.cfg.Logger.DebugContext(ctx, "payloads of a timeline are not available", "entries", len(entries), "error", err)
		return nil
	}
	return payloads
}

// payload returns the payload at i, or nil and why it is lacking.
func payload(payloads []Payload, i int) (p *Payload, lacks string) {
	switch {
	case payloads == nil:
		return nil, warnNoPayloads
	case payloads[i].Omitted:
		return nil, warnOmitted
	}
	return &payloads[i], ""
}

// waited is the time from the record before entries[i] to it, 0 for the first.
func waited(entries []orderdb.Entry, i int) time.Duration {
	if i == 0 {
		return 0
	}
	return max(0, entries[i].Time.Sub(entries[i-1].Time))
}

// appendEvent appends a record of a timeline, without the closing brace. p is
// nil if its payload could not be read.
func appendEvent(b []byte, e orderdb.Entry, waited time.Duration, p *Payload) []byte {
	b = event.AppendString(append(b, `{"topic":`...), e.Topic)
	b = strconv.AppendInt(append(b, `,"partition":`...), int64(e.Partition), 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), e.Offset, 10)
	if p != nil {
		b = appendKey(b, p)
	}
	b = append(b, `,"timestamp":"`...)
	b = event.AppendTime(b, e.Time)
	b = strconv.AppendInt(append(b, `","attente_ms":`...), waited.Milliseconds(), 10)
	switch {
	case p == nil:
	case !p.Found:
		b = append(b, `,"valeur":null,"absente":true`...)
	case p.Value == nil:
		b = append(b, `,"valeur":null`...)
	case event.Strict(p.Value):
		b = append(append(b, `,"valeur":`...), p.Value...)
	default:
		b = base64.StdEncoding.AppendEncode(append(b, `,"valeur_brute":"`...), p.Value)
		b = append(b, '"')
	}
	return b
}

func appendKey(b []byte, p *Payload) []byte {
	switch {
	case p.Key == nil:
		return append(b, `,"cle":null`...)
	case utf8.Valid(p.Key):
		return event.AppendString(append(b, `,"cle":`...), string(p.Key))
	default:
		b = base64.StdEncoding.AppendEncode(append(b, `,"cle_brute":"`...), p.Key)
		return append(b, '"')
	}
}

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/internal/trace/tracetest"
	"github.com/comptoir/comptoir/test/program"
)

// way is an order's way to its notification, as spans: each begins after the
// one before.
var way = []string{
	"POST /commandes",
	"send commandes.ecommerce",
	"process commandes.ecommerce by service-stock",
	"process stock.verifie by service-paiement",
	"process paiement-accepte by service-facturation",
	"process factures.ecommerce by service-notification",
}

// TestHTTPTrace: a collector gets every hop of an order under one trace id, the
// HTTP request first and the notification last.
func TestHTTPTrace(t *testing.T) {
	collector := tracetest.NewCollector(t)
	p := program.Up(t, t.TempDir(), "--otlp", collector.URL())
	const given = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, c := range []struct{ id, traceparent string }{
		{"TRACE-DONNEE", "00-" + given + "-00f067aa0ba902b7-01"},
		{"TRACE-NOUVELLE", ""},
	} {
		t.Run(c.id, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Endpoints.HTTP+"/commandes",
				strings.NewReader(fmt.Sprintf(`{"commandeId":%q,"client":"LUCAS","montant":120.5,"produit":"PC Gamer"}`, c.id)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			if c.traceparent != "" {
				request.Header.Set("Traceparent", c.traceparent)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusCreated {
				t.Fatalf("POST /commandes answers %s", response.Status)
			}
			whole := func(spans []tracetest.Span) bool { return len(along(spans)) == len(way) }
			var spans []tracetest.Span
			if c.traceparent != "" {
				spans = collector.Wait(given, whole)
			} else {
				// The trace begun here is the one that is not given.
				all := collector.Wait("", func(all []tracetest.Span) bool { return whole(others(all, given)) })
				spans = others(all, given)
			}
			check(t, c.id, spans)
			if first := spans[0]; c.traceparent != "" && first.ParentID != "00f067aa0ba902b7" || c.traceparent == "" && first.ParentID != "" {
				t.Errorf("the first span is a child of %q", first.ParentID)
			}
		})
	}
}

func others(all []tracetest.Span, given string) (spans []tracetest.Span) {
	for _, s := range all {
		if s.TraceID != given {
			spans = append(spans, s)
		}
	}
	return spans
}

func title(s tracetest.Span) string {
	if group := s.Attributes["messaging.consumer.group.name"]; group != "" {
		return s.Name + " by " + group
	}
	return s.Name
}

// along are the spans of the way, in the order of their start.
func along(spans []tracetest.Span) (names []string) {
	for _, s := range spans {
		if name := title(s); slices.Contains(way, name) {
			names = append(names, name)
		}
	}
	return names
}

func check(t *testing.T, id string, spans []tracetest.Span) {
	t.Helper()
	var all []string
	for i, s := range spans {
		all = append(all, title(s))
		if s.TraceID != spans[0].TraceID || s.Failed || s.End.Before(s.Start) {
			t.Errorf("span %q: trace %s, failed %v, from %v to %v", title(s), s.TraceID, s.Failed, s.Start, s.End)
		}
		if i > 0 && s.ParentID != spans[0].SpanID {
			t.Errorf("span %q is a child of %s, want %s", title(s), s.ParentID, spans[0].SpanID)
		}
		// Messages within a stage carry the trace alone.
		if got := s.Attributes["comptoir.order.id"]; got != id && !(got == "" && (i == 0 || strings.Contains(s.Name, "-repartition"))) {
			t.Errorf("span %q is of order %q, want %q", title(s), got, id)
		}
	}
	if got := along(spans); !slices.Equal(got, way) {
		t.Errorf("the way was %q, want %q", got, way)
	}
	if all[0] != way[0] {
		t.Errorf("the first span is %q", all[0])
	}
	// Only the stock's movement and the search for anomalies do not lead to the
	// notification: they may still be under way.
	for i := slices.Index(all, way[len(way)-1]) + 1; i < len(all); i++ {
		if !strings.HasSuffix(all[i], " by service-stock") && !strings.HasSuffix(all[i], " by detection-anomalies") {
			t.Errorf("%q begins after the notification", all[i])
		}
	}
	t.Logf("%q", all)
}

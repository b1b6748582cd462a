package httporders

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tryLimit is how long one try waits for its answer: longer than the API works
// on any request.
const tryLimit = 20 * time.Second

// Config says where and how to post.
type Config struct {
	// Connections is how many requests are under way at most.
	Connections int
	// Target is the base URL for a try (from 0 on) of the n'th request. It is
	// asked each time, by several goroutines, since instances come and go.
	Target func(n, try int) string
	// Enough ends the posting early once it is closed: requests of which nothing
	// was sent are left out, with no try. Nil posts all of them.
	Enough <-chan struct{}
}

// Answer is the last answer to a request.
type Answer struct {
	Status int // 0 if there was none
	// ID and State are the order's, if it was accepted.
	ID, State string
	// Code is a problem's, and Codes are those of its erreurs, sorted.
	Code  string
	Codes []string
	// Tries is how often the request was sent, Lost how often the answer was lost
	// or nobody was there, Unavailable how often it was 503.
	Tries, Lost, Unavailable int
	// Faults are what no answer may be.
	Faults []string
}

// Load is the posting of many requests.
type Load struct {
	answered atomic.Int64
	answers  []Answer
	done     chan struct{}
	err      error // of ctx; valid after done
}

// Start begins to post. The orders of one client are posted one after the other,
// in their order; one whose answer is lost, or is 503 or 409 REQUETE_EN_COURS,
// is posted again under the same key until ctx ends.
func Start(ctx context.Context, requests []Request, cfg Config) *Load {
	l := &Load{answers: make([]Answer, len(requests)), done: make(chan struct{})}
	client := &http.Client{Timeout: tryLimit, Transport: &http.Transport{MaxIdleConnsPerHost: cfg.Connections}}
	var workers sync.WaitGroup
	for worker := range cfg.Connections {
		workers.Go(func() {
			for n := range requests {
				if lane(&requests[n], n, cfg.Connections) == worker {
					l.answers[n] = post(ctx, client, &requests[n], cfg.Enough, func(try int) string { return cfg.Target(n, try) })
					l.answered.Add(1)
				}
			}
		})
	}
	go func() {
		defer close(l.done)
		workers.Wait()
		client.CloseIdleConnections()
		l.err = ctx.Err()
	}()
	return l
}

// Answered is how many requests have their answer.
func (l *Load) Answered() int { return int(l.answered.Load()) }

// Wait returns the answers, one for each request, once all are there.
func (l *Load) Wait() ([]Answer, error) {
	<-l.done
	return l.answers, l.err
}

// lane is the connection of a request: one for each client.
func lane(q *Request, n, lanes int) int {
	if q.Client == "" {
		return n % lanes
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(q.Client)) // never fails
	return int(h.Sum32() % uint32(lanes))
}

func post(ctx context.Context, client *http.Client, q *Request, enough <-chan struct{}, target func(try int) string) (a Answer) {
	for ctx.Err() == nil {
		url := target(a.Tries) + "/commandes"
		if a.Tries == 0 && closed(enough) {
			return a
		}
		a.Tries++
		a.Status = 0
		switch err := try(ctx, client, url, q, &a); {
		case err != nil:
			a.Lost++
		case a.Status == http.StatusServiceUnavailable:
			a.Unavailable++
		case a.Status != http.StatusConflict || a.Code != "REQUETE_EN_COURS":
			return a
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(10*time.Millisecond<<min(a.Tries, 6), 300*time.Millisecond)):
		}
	}
	return a
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false // nil too
	}
}

// try posts once. The error is that no whole answer came.
func try(ctx context.Context, client *http.Client, url string, q *Request, a *Answer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(q.Body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", q.Key)
	if q.Trace != "" {
		request.Header.Set("Traceparent", q.Trace)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	a.read(response, body)
	return nil
}

func (a *Answer) read(response *http.Response, body []byte) {
	fault := func(format string, args ...any) { a.Faults = append(a.Faults, fmt.Sprintf(format, args...)) }
	var is struct {
		ID     json.RawMessage `json:"commandeId"`
		State  string          `json:"statut"`
		Code   string          `json:"code"`
		Errors []struct {
			Code string `json:"code"`
		} `json:"erreurs"`
	}
	a.Status, a.ID, a.State, a.Code, a.Codes = response.StatusCode, "", "", "", nil
	if err := json.Unmarshal(body, &is); err != nil {
		fault("%d with a body that is no JSON: %v: %.200s", a.Status, err, body)
		return
	}
	a.State, a.Code = is.State, is.Code
	for _, e := range is.Errors {
		a.Codes = append(a.Codes, e.Code)
	}
	slices.Sort(a.Codes)
	a.Codes = slices.Compact(a.Codes)
	switch a.Status {
	case http.StatusCreated, http.StatusOK:
		var err error
		if a.ID, err = idOf(is.ID); err != nil {
			fault("%d without order id: %v: %.200s", a.Status, err, body)
		}
		if a.Status == http.StatusCreated && response.Header.Get("Location") == "" {
			fault("201 without Location")
		}
	case http.StatusServiceUnavailable:
		if response.Header.Get("Retry-After") == "" {
			fault("503 without Retry-After: %.200s", body)
		}
	}
	if a.Status >= 400 && a.Code == "" {
		fault("%d without code: %.200s", a.Status, body)
	}
}

// idOf reads an id, written as a number or as text.
func idOf(literal json.RawMessage) (string, error) {
	switch {
	case len(literal) == 0:
		return "", errors.New("none")
	case literal[0] != '"':
		return string(literal), nil
	}
	var text string
	err := json.Unmarshal(literal, &text)
	return text, err
}

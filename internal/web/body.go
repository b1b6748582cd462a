package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// bodyTime is what every request body has to arrive, and bodyRate, in bytes
	// per second, what a large one has beside: in all less than the time for
	// writing the answer, which runs from the same moment. A client that sends
	// nothing, or a byte now and then, must not hold a connection for ever.
	bodyTime = 10 * time.Second
	bodyRate = 32 << 10
	// maxLeft is how much of a body that a handler has not read is taken off the
	// connection to keep it for the next request, as net/http does.
	maxLeft = 256 << 10
)

// errStopping is why a body is not read on.
var errStopping = errors.New("the server is stopping")

// timedBody is a request body with a time limit for its arrival.
//
// The limit holds for the connection, not for a context, so that it also ends
// what net/http reads by itself after an answer. It must be gone once the body
// is whole: from then on net/http reads on to notice that the client goes, and
// would take a limit passed for that.
type timedBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	begun time.Time
	limit time.Duration // for the first bytes

	mu       sync.Mutex // guards what follows, and the deadline
	n        int64      // bytes read
	stopping bool
	whole    bool
}

// timeBodies gives every request body limit to arrive, and more while it comes.
// When server ends, so does the body. (A request's own context does not tell: it
// ends with a limit that passes as well.)
func timeBodies(server context.Context, limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		b := &timedBody{ReadCloser: r.Body, rc: http.NewResponseController(w), begun: time.Now(), limit: limit}
		b.extend() // nobody but us knows b yet
		defer context.AfterFunc(server, b.stop)()
		r.Body = b
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			// No route reads it, but an answer that lasts would have it in the way.
			if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, b, DefaultBodyLimit)); err != nil {
				WriteProblem(w, bodyProblem(err))
				return
			}
		}
		next.ServeHTTP(w, r)
		// net/http reads what a handler has left, before it sends the answer. We do
		// so while a stop still ends it; but who asks first whether to send a body
		// is not to be told to.
		if r.Header.Get("Expect") == "" {
			_, _ = io.CopyN(io.Discard, b, maxLeft)
		}
	})
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += int64(n)
	switch {
	case err == nil:
		b.extend()
	case errors.Is(err, io.EOF):
		b.whole = true
		_ = b.rc.SetReadDeadline(time.Time{})
	case b.stopping:
		err = errStopping
	}
	return n, err
}

// extend sets the limit for what is still to come. What has no deadlines, as in
// a test without a connection, does without.
func (b *timedBody) extend() {
	if !b.stopping && !b.whole {
		_ = b.rc.SetReadDeadline(b.begun.Add(b.limit + time.Duration(b.n)*time.Second/bodyRate))
	}
}

func (b *timedBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = true
	if !b.whole {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

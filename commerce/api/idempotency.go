package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/comptoir/comptoir/commerce/orderdb"
	"github.com/comptoir/comptoir/internal/web"
)

// maxKey is the longest Idempotency-Key in bytes.
const maxKey = 255

// idempotencyKey reads the header; empty for none.
func idempotencyKey(r *http.Request) (string, error) {
	switch keys := r.Header.Values("Idempotency-Key"); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", badRequest("header Idempotency-Key is given %d times", len(keys))
	case keys[0] == "" || len(keys[0]) > maxKey || !utf8.ValidString(keys[0]):
		return "", badRequest("header Idempotency-Key must have 1 to %d bytes of UTF-8", maxKey)
	default:
		return keys[0], nil
	}
}

// fingerprint is of all that must be equal for the same answer.
func fingerprint(r *http.Request, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(r.Method))
	h.Write([]byte{0})
	h.Write([]byte(r.URL.Path))
	h.Write([]byte{0})
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// flights are the requests with a key that run in this process. Those that come
// while one runs wait for it here; across processes the database decides.
type flights struct {
	mu sync.Mutex
	of map[string]*flight
}

// flight is a running request. Its fields but done and fingerprint are set
// before done is closed.
type flight struct {
	fingerprint [32]byte
	done        chan struct{}
	answer      orderdb.Answer
	kept        bool // the answer stands in the database under the key
}

// once runs do, unless a request with this key runs already: then it waits for
// that one's answer. do says whether its answer is kept under the key.
func (a *API) once(ctx context.Context, key string, sum [32]byte, do func() (ans orderdb.Answer, kept bool, err error)) (orderdb.Answer, error) {
	if key == "" {
		ans, _, err := do()
		return ans, err
	}
	timeout := time.NewTimer(a.times.flight)
	defer timeout.Stop()
	for {
		f, first := a.flights.join(key, sum)
		if first {
			return a.flights.run(key, f, do)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return orderdb.Answer{}, ctx.Err()
		case <-timeout.C:
			return orderdb.Answer{}, web.Problemf(http.StatusConflict, codeRunning, "the first request with this Idempotency-Key still runs; ask again later")
		}
		switch {
		case !f.kept: // it came to nothing: our turn
		case f.fingerprint != sum:
			return orderdb.Answer{}, keyReused()
		default:
			return f.answer, nil
		}
	}
}

func (fs *flights) join(key string, sum [32]byte) (f *flight, first bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.of[key]; f != nil {
		return f, false
	}
	f = &flight{fingerprint: sum, done: make(chan struct{})}
	fs.of[key] = f
	return f, true
}

func (fs *flights) run(key string, f *flight, do func() (orderdb.Answer, bool, error)) (orderdb.Answer, error) {
	defer func() {
		fs.mu.Lock()
		delete(fs.of, key)
		fs.mu.Unlock()
		close(f.done)
	}()
	ans, kept, err := do()
	if err == nil {
		f.answer, f.kept = ans, kept
	}
	return ans, err
}

func keyReused() *web.Problem {
	return web.Problemf(http.StatusUnprocessableEntity, codeKeyReused, "this Idempotency-Key was used for another request; choose a new one for each request")
}

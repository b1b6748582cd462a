package web

import "net/http"

// Recorder is a ResponseWriter that remembers the status of the answer. Unwrap
// lets http.ResponseController reach flushing and deadlines. It is for one
// request's goroutine.
type Recorder struct {
	http.ResponseWriter
	status int // 0 before the answer
}

// Status is that of the answer; of one that is empty what net/http sends for it.
func (w *Recorder) Status() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// WriteHeader notes a final status; those below 200 come before it.
func (w *Recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *Recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap returns the writer below.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

package connect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody        = 1 << 20
	requestTimeout = 60 * time.Second
)

// httpError is an answer other than success, in Kafka Connect's form.
type httpError struct {
	status  int
	message string
}

func (e *httpError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// answer is what a route returns: a status and, unless nil, a JSON body.
type answer struct {
	status   int
	body     any
	location string
}

type route func(ctx context.Context, r *http.Request) (answer, error)

// Handler returns the REST API of Kafka Connect. It speaks JSON only, refuses
// requests from pages of other origins and those whose Host header is no name
// of this machine (see Config.AllowedHosts), and answers 503 before Start.
// Left out: /admin/loggers and transforms.
func (w *Worker) Handler() http.Handler {
	routes := map[string]map[string]route{
		"/{$}":                                       {"GET": w.getRoot},
		"/connectors":                                {"GET": w.getConnectors, "POST": w.postConnector},
		"/connectors/{$}":                            {"GET": w.getConnectors, "POST": w.postConnector},
		"/connectors/{name}":                         {"GET": w.getConnector, "DELETE": w.deleteConnector},
		"/connectors/{name}/config":                  {"GET": w.getConfig, "PUT": w.putConfig, "PATCH": w.patchConfig},
		"/connectors/{name}/status":                  {"GET": w.getStatus},
		"/connectors/{name}/tasks":                   {"GET": w.getTasks},
		"/connectors/{name}/tasks/{task}/status":     {"GET": w.getTaskStatus},
		"/connectors/{name}/tasks/{task}/restart":    {"POST": w.restartTask},
		"/connectors/{name}/restart":                 {"POST": w.restartConnector},
		"/connectors/{name}/pause":                   {"PUT": w.target(Paused, http.StatusAccepted)},
		"/connectors/{name}/resume":                  {"PUT": w.target(Started, http.StatusAccepted)},
		"/connectors/{name}/stop":                    {"PUT": w.target(Stopped, http.StatusNoContent)},
		"/connectors/{name}/topics":                  {"GET": w.getTopics},
		"/connectors/{name}/topics/reset":            {"PUT": w.resetTopics},
		"/connectors/{name}/offsets":                 {"GET": w.getOffsets, "PATCH": w.patchOffsets, "DELETE": w.deleteOffsets},
		"/connector-plugins":                         {"GET": w.getPlugins},
		"/connector-plugins/{$}":                     {"GET": w.getPlugins},
		"/connector-plugins/{class}/config":          {"GET": w.getPluginConfig},
		"/connector-plugins/{class}/config/validate": {"PUT": w.validatePlugin},
	}
	mux := http.NewServeMux()
	for path, methods := range routes {
		mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			f := methods[method]
			if f == nil {
				allow := make([]string, 0, len(methods))
				for m := range methods {
					allow = append(allow, m)
				}
				slices.Sort(allow)
				rw.Header().Set("Allow", strings.Join(allow, ", "))
				w.fail(rw, &httpError{http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"})
				return
			}
			w.serve(rw, r, f)
		})
	}
	mux.HandleFunc("/", func(rw http.ResponseWriter, _ *http.Request) {
		w.fail(rw, &httpError{http.StatusNotFound, "HTTP 404 Not Found"})
	})
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		rw.Header().Set("Cache-Control", "no-store")
		if !w.hostAllowed(r.Host) {
			w.fail(rw, &httpError{http.StatusMisdirectedRequest, fmt.Sprintf("the Host header names %q, which is not this machine; address it as localhost, or allow the name in the configuration", r.Host)})
			return
		}
		if err := origin.Check(r); err != nil {
			w.fail(rw, &httpError{http.StatusForbidden, "requests from pages of another origin are refused"})
			return
		}
		mux.ServeHTTP(rw, r)
	})
}

func (w *Worker) hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return true
	}
	for _, allowed := range w.cfg.AllowedHosts {
		if allowed == "*" || strings.EqualFold(allowed, host) {
			return true
		}
	}
	return false
}

func (w *Worker) serve(rw http.ResponseWriter, r *http.Request, f route) {
	w.mu.Lock()
	serving := w.started && !w.stopping
	w.mu.Unlock()
	if !serving {
		rw.Header().Set("Retry-After", "1")
		w.fail(rw, &httpError{http.StatusServiceUnavailable, "the worker is starting or stopping"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	r.Body = http.MaxBytesReader(rw, r.Body, maxBody)
	a, err := f(ctx, r)
	if err != nil {
		w.fail(rw, err)
		return
	}
	if a.location != "" {
		rw.Header().Set("Location", a.location)
	}
	if a.body == nil {
		rw.WriteHeader(a.status)
		return
	}
	writeJSON(rw, a.status, a.body)
}

func writeJSON(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(encodeJSON(body)) // a client that left needs no answer
}

// fail maps every error to its HTTP answer.
func (w *Worker) fail(rw http.ResponseWriter, err error) {
	var (
		he      *httpError
		invalid *invalidError
		missing *notFoundError
		tooBig  *http.MaxBytesError
		e       = httpError{http.StatusInternalServerError, err.Error()}
	)
	switch {
	case errors.As(err, &he):
		e = *he
	case errors.As(err, &tooBig):
		e = httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody)}
	case errors.As(err, &invalid):
		e.status = http.StatusBadRequest
	case errors.As(err, &missing):
		e.status = http.StatusNotFound
	case errors.Is(err, ErrExists):
		e.status = http.StatusConflict
	case errors.Is(err, context.DeadlineExceeded), IsRetriable(err):
		e.status = http.StatusServiceUnavailable
		rw.Header().Set("Retry-After", "5")
	}
	if e.status >= 500 {
		w.logger.Warn("request failed", "status", e.status, "error", e.message)
	}
	writeJSON(rw, e.status, map[string]any{"error_code": e.status, "message": e.message})
}

// What the bodies must be, for read.
const (
	wantConnector = "an object {name, config}"
	wantConfig    = "an object of options"
	wantOffsets   = "an object {offsets}"
)

// read decodes a JSON body. Numbers stay as they were written. want says to the
// sender what the body must be.
func read(r *http.Request, into any, want string) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &httpError{http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type: send application/json"}
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	// null would pass as an empty object.
	if t := bytes.TrimSpace(data); json.Valid(t) && t[0] != '{' {
		return badRequest("the body must be %s", want)
	}
	err = json.Unmarshal(data, into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) { // its text names Go types
		return badRequest("the body must be %s: %s cannot be a JSON %s", want, cmp.Or(wrong.Field, "a part"), wrong.Value)
	}
	if err != nil {
		return badRequest("the body is not the JSON expected: %v", err)
	}
	return nil
}

// configMap is a configuration as posted: Kafka Connect takes numbers and
// booleans for the text they are written as. null deletes a key in a PATCH.
type configMap map[string]*string

func (c *configMap) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return errors.New("a configuration must be an object of options")
	}
	*c = make(configMap, len(raw))
	for k, v := range raw {
		value, err := DecodeJSON(v)
		if err != nil {
			return fmt.Errorf("option %q: %w", k, err)
		}
		switch value.Kind {
		case Null:
			(*c)[k] = nil
		case String, Number, Bool:
			(*c)[k] = &value.Text
		default:
			return fmt.Errorf("option %q is an %s; options are text", k, value.Kind)
		}
	}
	return nil
}

func (c configMap) strings() map[string]string {
	out := make(map[string]string, len(c))
	for k, v := range c {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

func (w *Worker) getRoot(context.Context, *http.Request) (answer, error) {
	return ok(struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Cluster string `json:"kafka_cluster_id"`
	}{Version, "comptoir", w.clusterID})
}

type taskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

type connectorInfo struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
	Tasks  []taskID          `json:"tasks"`
	Type   string            `json:"type"`
}

func (w *Worker) info(name string) (connectorInfo, error) {
	e, found := w.log.get(name)
	if !found {
		return connectorInfo{}, notFound("Connector " + name + " not found")
	}
	info := connectorInfo{Name: name, Config: e.config, Tasks: []taskID{}, Type: "sink"}
	if c := w.connector(name); c != nil {
		for i := range c.taskCount() {
			info.Tasks = append(info.Tasks, taskID{name, i})
		}
	}
	return info, nil
}

func (w *Worker) status(name string) (ConnectorStatus, error) {
	c := w.connector(name)
	if c == nil {
		return ConnectorStatus{}, notFound("No status found for connector " + name)
	}
	return c.status(), nil
}

func (w *Worker) getConnectors(_ context.Context, r *http.Request) (answer, error) {
	all := w.Status()
	expand := r.URL.Query()["expand"]
	if len(expand) == 0 {
		names := []string{}
		for _, st := range all {
			names = append(names, st.Name)
		}
		return ok(names)
	}
	out := make(map[string]map[string]any)
	for _, st := range all {
		one := make(map[string]any)
		if slices.Contains(expand, "status") {
			one["status"] = st
		}
		if slices.Contains(expand, "info") {
			if info, err := w.info(st.Name); err == nil {
				one["info"] = info
			}
		}
		out[st.Name] = one
	}
	return ok(out)
}

func location(r *http.Request, name string) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host, Path: "/connectors/" + name}).String()
}

func (w *Worker) postConnector(ctx context.Context, r *http.Request) (answer, error) {
	var body struct {
		Name    string      `json:"name"`
		Config  configMap   `json:"config"`
		Initial TargetState `json:"initial_state"`
	}
	if err := read(r, &body, wantConnector); err != nil {
		return answer{}, err
	}
	config := body.Config.strings()
	name := strings.TrimSpace(body.Name)
	if name == "" {
		name = strings.TrimSpace(config["name"])
	}
	if name == "" {
		return answer{}, badRequest("the connector has no name: give {\"name\":…,\"config\":{…}}")
	}
	if named := config["name"]; named != "" && named != name {
		return answer{}, badRequest("Connector name configuration (%s) doesn't match connector name in the request (%s)", named, name)
	}
	target := map[TargetState]TargetState{"": "", "RUNNING": Started, "PAUSED": Paused, "STOPPED": Stopped}
	state, known := target[TargetState(strings.ToUpper(string(body.Initial)))]
	if !known {
		return answer{}, badRequest("initial_state %q is none of RUNNING, PAUSED, STOPPED", body.Initial)
	}
	if _, err := w.put(ctx, name, config, state, true); err != nil {
		return answer{}, err
	}
	info, err := w.info(name)
	info.Tasks = []taskID{} // they begin after the answer, as in Kafka Connect
	return answer{http.StatusCreated, info, location(r, name)}, err
}

func (w *Worker) getConnector(_ context.Context, r *http.Request) (answer, error) {
	info, err := w.info(r.PathValue("name"))
	return answer{status: http.StatusOK, body: info}, err
}

func (w *Worker) deleteConnector(ctx context.Context, r *http.Request) (answer, error) {
	return answer{status: http.StatusNoContent}, w.remove(ctx, r.PathValue("name"))
}

func (w *Worker) getConfig(_ context.Context, r *http.Request) (answer, error) {
	info, err := w.info(r.PathValue("name"))
	return answer{status: http.StatusOK, body: info.Config}, err
}

func (w *Worker) putConfig(ctx context.Context, r *http.Request) (answer, error) {
	var body configMap
	if err := read(r, &body, wantConfig); err != nil {
		return answer{}, err
	}
	return w.storeConfig(ctx, r, body.strings())
}

func (w *Worker) patchConfig(ctx context.Context, r *http.Request) (answer, error) {
	var body configMap
	if err := read(r, &body, wantConfig); err != nil {
		return answer{}, err
	}
	e, found := w.log.get(r.PathValue("name"))
	if !found {
		return answer{}, notFound("Connector " + r.PathValue("name") + " not found")
	}
	config := make(map[string]string)
	for k, v := range e.config {
		config[k] = v
	}
	for k, v := range body {
		if v == nil {
			delete(config, k)
		} else {
			config[k] = *v
		}
	}
	return w.storeConfig(ctx, r, config)
}

func (w *Worker) storeConfig(ctx context.Context, r *http.Request, config map[string]string) (answer, error) {
	name := r.PathValue("name")
	if named := config["name"]; named != "" && named != name {
		return answer{}, badRequest("Connector name configuration (%s) doesn't match connector name in the URL (%s)", named, name)
	}
	created, err := w.put(ctx, name, config, "", false)
	if err != nil {
		return answer{}, err
	}
	info, err := w.info(name)
	a := answer{status: http.StatusOK, body: info}
	if created {
		a.status, a.location = http.StatusCreated, location(r, name)
	}
	return a, err
}

func (w *Worker) getStatus(_ context.Context, r *http.Request) (answer, error) {
	st, err := w.status(r.PathValue("name"))
	return answer{status: http.StatusOK, body: st}, err
}

func (w *Worker) getTasks(_ context.Context, r *http.Request) (answer, error) {
	info, err := w.info(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	type taskInfo struct {
		ID     taskID            `json:"id"`
		Config map[string]string `json:"config"`
	}
	out := []taskInfo{}
	p, err := w.plugin(info.Config["connector.class"])
	if err != nil {
		return ok(out) // its status says that the class is unknown
	}
	for _, id := range info.Tasks {
		out = append(out, taskInfo{id, taskConfig(info.Config, p.TaskClass)})
	}
	return ok(out)
}

func (w *Worker) taskStatus(r *http.Request, missing string) (TaskStatus, error) {
	name := r.PathValue("name")
	if st, err := w.status(name); err == nil {
		for _, t := range st.Tasks {
			if strconv.Itoa(t.ID) == r.PathValue("task") {
				return t, nil
			}
		}
	}
	return TaskStatus{}, notFound(missing + name + "-" + r.PathValue("task"))
}

func (w *Worker) getTaskStatus(_ context.Context, r *http.Request) (answer, error) {
	st, err := w.taskStatus(r, "No status found for task ")
	return answer{status: http.StatusOK, body: st}, err
}

// restartTask restarts a task here; on other workers, which number their own
// tasks, those that failed.
func (w *Worker) restartTask(ctx context.Context, r *http.Request) (answer, error) {
	st, err := w.taskStatus(r, "Unknown task: ")
	if err != nil {
		return answer{}, err
	}
	if c := w.connector(r.PathValue("name")); c != nil {
		c.restart(func(t *task) bool { return t.id == st.ID })
	}
	return answer{status: http.StatusNoContent}, w.askRestart(ctx, r, restartRequest{IncludeTasks: true, OnlyFailed: true})
}

func (w *Worker) askRestart(ctx context.Context, r *http.Request, req restartRequest) error {
	return w.log.write(ctx, configRecord(restartPrefix+r.PathValue("name"), req))
}

// restartConnector follows KIP-745. Without parameters Kafka Connect restarts
// only the connector instance; there is none here beside the tasks, so the
// tasks that failed are restarted, which is what people who send it want.
func (w *Worker) restartConnector(ctx context.Context, r *http.Request) (answer, error) {
	name := r.PathValue("name")
	if _, found := w.log.get(name); !found {
		return answer{}, notFound("Unknown connector: " + name)
	}
	includeTasks := strings.EqualFold(r.URL.Query().Get("includeTasks"), "true")
	onlyFailed := strings.EqualFold(r.URL.Query().Get("onlyFailed"), "true")
	if !includeTasks && !onlyFailed {
		return answer{status: http.StatusNoContent}, w.askRestart(ctx, r, restartRequest{IncludeTasks: true, OnlyFailed: true})
	}
	if err := w.askRestart(ctx, r, restartRequest{IncludeTasks: includeTasks, OnlyFailed: onlyFailed}); err != nil {
		return answer{}, err
	}
	st, err := w.status(name)
	return answer{status: http.StatusAccepted, body: st}, err
}

func (w *Worker) target(state TargetState, status int) route {
	return func(ctx context.Context, r *http.Request) (answer, error) {
		return answer{status: status}, w.setTarget(ctx, r.PathValue("name"), state)
	}
}

func (w *Worker) getTopics(_ context.Context, r *http.Request) (answer, error) {
	name := r.PathValue("name")
	c := w.connector(name)
	if c == nil {
		return answer{}, notFound("Connector " + name + " not found")
	}
	return ok(map[string]any{name: map[string][]string{"topics": c.topics()}})
}

func (w *Worker) resetTopics(_ context.Context, r *http.Request) (answer, error) {
	name := r.PathValue("name")
	c := w.connector(name)
	if c == nil {
		return answer{}, notFound("Connector " + name + " not found")
	}
	c.resetTopics()
	return answer{status: http.StatusAccepted}, nil
}

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/node"
)

// fakeConnect answers as Kafka Connect's REST API does, with what the commands
// need of it.
type fakeConnect struct {
	mu      sync.Mutex
	configs map[string]map[string]string
	state   map[string]string
	calls   []string
	deleted func() // runs beside the answer to a deletion
}

func (f *fakeConnect) status(name string) map[string]any {
	task := map[string]any{"id": 0, "state": f.state[name], "worker_id": "w:1"}
	if f.state[name] == "FAILED" {
		task["trace"] = "database is down\n\tat Sink"
	}
	return map[string]any{
		"name": name, "type": "sink",
		"connector": map[string]any{"state": "RUNNING", "worker_id": "w:1"},
		"tasks":     []any{task},
	}
}

func (f *fakeConnect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	if len(parts) == 1 {
		if r.URL.Query().Get("expand") == "status" {
			all := map[string]any{}
			for n := range f.configs {
				all[n] = map[string]any{"status": f.status(n)}
			}
			answer(200, all)
			return
		}
		names := []string{}
		for n := range f.configs {
			names = append(names, n)
		}
		answer(200, names)
		return
	}
	name, err := url.PathUnescape(parts[1])
	if err != nil {
		answer(400, map[string]any{"error_code": 400, "message": err.Error()})
		return
	}
	what := r.Method + " " + strings.Join(parts[2:], "/")
	if what == "PUT config" {
		var c map[string]string
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			answer(400, map[string]any{"error_code": 400, "message": err.Error()})
			return
		}
		f.configs[name], f.state[name] = c, "RUNNING"
		answer(201, map[string]any{"name": name, "config": c})
		return
	}
	if f.configs[name] == nil {
		answer(404, map[string]any{"error_code": 404, "message": "Connector " + name + " not found"})
		return
	}
	switch what {
	case "GET config":
		answer(200, f.configs[name])
	case "GET status":
		answer(200, f.status(name))
	case "DELETE ":
		delete(f.configs, name)
		if f.deleted != nil {
			go f.deleted()
		}
		w.WriteHeader(204)
	case "PUT pause":
		f.state[name] = "PAUSED"
		w.WriteHeader(202)
	case "PUT resume", "POST restart":
		f.state[name] = "RUNNING"
		w.WriteHeader(202)
	default:
		answer(405, map[string]any{"error_code": 405, "message": "HTTP 405 Method Not Allowed"})
	}
}

func TestConnectors(t *testing.T) {
	f := &fakeConnect{configs: map[string]map[string]string{}, state: map[string]string{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	s := &shell{t: t, environ: []string{"COMPTOIR_CONNECT=" + strings.TrimPrefix(srv.URL, "http://")}}

	if out := s.ok("", "connector", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("empty list: %s", out)
	}
	file := filepath.Join(t.TempDir(), "sink.json")
	if err := os.WriteFile(file, []byte(`{"name":"sink","config":{"connector.class":"X","tasks.max":2,"auto.create":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("", "connector", "put", "-f", file)
	s.ok(`{"connector.class":"X"}`, "connector", "put", "a/b", "-f", "-")
	want := map[string]map[string]string{"sink": {"connector.class": "X", "tasks.max": "2", "auto.create": "true"}, "a/b": {"connector.class": "X"}}
	if !reflect.DeepEqual(f.configs, want) {
		t.Errorf("stored %v, want %v", f.configs, want)
	}
	s.ok("", "connector", "delete", "a/b", "--yes")

	var config map[string]string
	s.json(&config, "connector", "get", "sink")
	if !reflect.DeepEqual(config, want["sink"]) {
		t.Errorf("get: %v", config)
	}
	copied := s.ok("", "connector", "get", "sink", "-o", "json")
	s.ok(copied, "connector", "put", "copie", "-f", "-")
	if out := s.ok("", "connector", "list"); !strings.Contains(out, "copie  sink  RUNNING  1 RUNNING\n") {
		t.Errorf("list:\n%s", out)
	}

	s.ok("", "connector", "pause", "sink")
	if f.state["sink"] != "PAUSED" {
		t.Errorf("state after pause: %s", f.state["sink"])
	}
	s.ok("", "connector", "resume", "sink", "copie")
	f.state["sink"] = "FAILED"
	r := s.run("", "connector", "status", "sink")
	if r.code != exitFailure || !strings.Contains(r.out, "database is down") || !strings.Contains(r.err, "connector restart sink") {
		t.Errorf("status of a failed one: %+v", r)
	}
	s.ok("", "connector", "restart", "sink", "--only-failed")
	if last := f.calls[len(f.calls)-1]; last != "POST /connectors/sink/restart?includeTasks=true&onlyFailed=true" {
		t.Errorf("restart called %s", last)
	}
	s.ok("", "connector", "status", "sink")

	s.fails(exitNotFound, []string{"nope not found"}, "", "connector", "get", "nope")
	s.fails(exitNotFound, []string{"nope"}, "", "connector", "status", "nope")
	s.fails(exitPartial, []string{"nope"}, "", "connector", "pause", "nope", "sink")
	s.fails(exitUsage, []string{"--yes"}, "", "connector", "delete", "sink")
	s.ok("", "connector", "delete", "sink", "--yes")
	s.fails(exitNotFound, []string{"sink"}, "", "connector", "delete", "sink", "--yes")
	s.fails(exitFailure, []string{"standard input: not a JSON object"}, "[]", "connector", "put", "-f", "-")
	s.fails(exitUsage, []string{"standard input", "name"}, `{"connector.class":"X"}`, "connector", "put", "-f", "-")
	s.fails(exitNotFound, []string{"absent.json"}, "", "connector", "put", "-f", "absent.json")
	if out := s.ok("", "__complete", "connector", "status", ""); !strings.Contains(out, "copie\n") {
		t.Errorf("completion: %s", out)
	}
	srv.Close()
	s.fails(exitFailure, []string{"no Connect REST API", "comptoir up", "--connect"}, "", "connector", "list")
}

// The group of a deleted connector goes as well, once its members have left,
// unless the cluster may be another one's.
func TestDeleteConnectorWithItsGroup(t *testing.T) {
	f := &fakeConnect{configs: map[string]map[string]string{}, state: map[string]string{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	s := newShell(t)
	connect := "COMPTOIR_CONNECT=" + srv.URL
	brokers := s.environ[0]
	s.environ = []string{brokers, connect}
	s.ok("", "topic", "create", "t")
	groups := func() string { return s.ok("", "group", "list", "-o", "json", "--brokers", s.broker.Addr()) }
	add := func() {
		t.Helper()
		s.ok(`{"connector.class":"X"}`, "connector", "put", "sink", "-f", "-")
	}
	add()
	s.ok("", "connector", "delete", "sink", "--yes") // never had a group

	add()
	m := s.member("connect-sink", "t", ownProtocol{kgo.CooperativeStickyBalancer()})
	f.deleted = m.Close // the tasks stop because of the deletion
	s.ok("", "connector", "delete", "sink", "--yes")
	f.deleted = nil
	if out := groups(); strings.Contains(out, "connect-sink") {
		t.Errorf("the group stays: %s", out)
	}

	add()
	s.ok("v\n", "produce", "t")
	s.ok("", "consume", "t", "-g", "connect-sink", "--from-beginning", "-n", "1")
	s.environ = []string{connect}
	r := s.run("", "connector", "delete", "sink", "--yes")
	if r.code != exitOK || !strings.Contains(r.err, "comptoir group delete connect-sink --yes") || !strings.Contains(groups(), "connect-sink") {
		t.Errorf("a cluster that was not named: %+v, groups %s", r, groups())
	}
	s.environ = []string{connect, brokers}
	add()
	s.ok("", "connector", "delete", "sink", "--yes")
	if out := groups(); strings.Contains(out, "connect-sink") {
		t.Errorf("the group stays: %s", out)
	}
}

func TestConnectorsOfAnotherServer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer srv.Close()
	s := &shell{t: t}
	s.fails(exitFailure, []string{"does not answer as Kafka Connect"}, "", "connector", "list", "--connect", srv.URL)
}

func TestParseConnector(t *testing.T) {
	for _, tc := range []struct {
		in, name string
		config   map[string]string
		err      string
	}{
		{in: `{"name":"a","config":{"x":"1"}}`, name: "a", config: map[string]string{"x": "1"}},
		{in: `{"config":{"x":"1","name":"b"}}`, name: "b", config: map[string]string{"x": "1", "name": "b"}},
		{in: `{"x":"1","name":"c"}`, name: "c", config: map[string]string{"x": "1", "name": "c"}},
		{in: `{"config":"text","x":1.50}`, config: map[string]string{"config": "text", "x": "1.50"}},
		{in: `{}`, config: map[string]string{}},
		{in: `{"name":1,"config":{}}`, err: "name is no string"},
		{in: `{"name":"a","config":{},"extra":1}`, err: "extra"},
		{in: `{"x":{}}`, err: "x is neither"},
		{in: `{"x":null}`, err: "x is neither"},
		{in: `[]`, err: "not a JSON object"},
		{in: ``, err: "not a JSON object"},
	} {
		name, config, err := parseConnector([]byte(tc.in))
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want one with %q", tc.in, err, tc.err)
			}
			continue
		}
		if err != nil || name != tc.name || !reflect.DeepEqual(config, tc.config) {
			t.Errorf("%s: %q %v (%v)", tc.in, name, config, err)
		}
	}
}

func FuzzParseConnector(f *testing.F) {
	f.Add([]byte(`{"name":"a","config":{"x":"1","y":2}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, config, err := parseConnector(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{"name": name, "config": config})
		if err != nil {
			t.Fatal(err)
		}
		name2, config2, err := parseConnector(again)
		if err != nil || name2 != strings.ToValidUTF8(name, "\ufffd") && name2 != name || len(config2) != len(config) {
			t.Fatalf("%s reads back as %q %v (%v)", again, name2, config2, err)
		}
	})
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	if err := node.WriteEndpoints(dir, node.Endpoints{HTTP: "http://h:1", Kafka: "h:2", Connect: "http://h:3", PID: 1}); err != nil {
		t.Fatal(err)
	}
	torn := t.TempDir()
	if err := os.WriteFile(filepath.Join(torn, node.EndpointsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // no ./comptoir-data here
	for _, tc := range []struct {
		name    string
		target  target
		flag    string
		dataDir string
		environ []string
		want    string
		err     string
	}{
		{name: "default", target: kafkaTarget, want: "127.0.0.1:9092"},
		{name: "default connect", target: connectTarget, want: "http://127.0.0.1:8083"},
		{name: "endpoints", target: kafkaTarget, dataDir: dir, want: "h:2"},
		{name: "endpoints connect", target: connectTarget, environ: []string{"COMPTOIR_DATA_DIR=" + dir}, want: "http://h:3"},
		{name: "environment", target: kafkaTarget, dataDir: dir, environ: []string{"COMPTOIR_BROKERS=e:1"}, want: "e:1"},
		{name: "port 0 is for listeners", target: connectTarget, dataDir: dir, environ: []string{"COMPTOIR_CONNECT=127.0.0.1:0"}, want: "http://h:3"},
		{name: "flag", target: kafkaTarget, flag: "f:1", dataDir: dir, environ: []string{"COMPTOIR_BROKERS=e:1"}, want: "f:1"},
		{name: "without scheme", target: connectTarget, flag: "f:1/", want: "http://f:1"},
		{name: "nothing runs there", target: connectTarget, dataDir: t.TempDir(), err: "comptoir up --data-dir"},
		{name: "torn", target: connectTarget, dataDir: torn, err: node.EndpointsFile},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &app{dataDir: tc.dataDir, environ: tc.environ}
			find := a.url
			if tc.target.flag == "--brokers" {
				find = a.resolve
			}
			got, err := find(tc.target, tc.flag)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

package connect

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestREST goes through a connector's life request by request. Where Apache
// Kafka Connect 4.3.1 was asked the same, the answers are its own.
func TestREST(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	m := newMemory()
	w := startWorker(t, kafka, m.plugins())
	produce(t, kafka, "in", 0, `{"n":1}`)
	h := w.Handler()
	const cfg = `"connector.class":"MemorySink","topics":"in","needed":"x"`
	running := func() error {
		return statusIs(h, "c1", `"connector":{"state":"RUNNING"`, `"tasks":[{"id":0,"state":"RUNNING"`)
	}
	steps := []struct {
		method, path, body string
		status             int
		want               []string // parts of the answer
		after              func() error
	}{
		{"GET", "/", "", 200, []string{`{"version":"4.3.1","commit":"comptoir","kafka_cluster_id":"` + w.clusterID + `"}`}, nil},
		{"GET", "/connectors", "", 200, []string{`[]`}, nil},
		{"GET", "/connector-plugins", "", 200, []string{`[{"class":"org.example.MemorySinkConnector","type":"sink","version":"1"},{"class":"org.example.PlainSinkConnector"`}, nil},
		{"POST", "/connectors", `{"name":"c1","config":{` + cfg + `,"tasks.max":1,"secret":"s3"}}`, 201,
			[]string{`{"name":"c1","config":{"connector.class":"MemorySink","name":"c1","needed":"x","secret":"s3","tasks.max":"1","topics":"in"},"tasks":[],"type":"sink"}`}, running},
		{"POST", "/connectors", `{"name":"c1","config":{` + cfg + `}}`, 409, []string{`{"error_code":409,"message":"Connector c1 already exists"}`}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{"connector.class":"Nope","topics":"in"}}`, 400,
			[]string{"which name matches Nope, available connectors are: org.example.MemorySinkConnector, org.example.PlainSinkConnector"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{"topics":"in"}}`, 400, []string{"contains no connector type"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{"connector.class":"MemorySink","level":"0"}}`, 400,
			[]string{"contains the following 3 error(s)", "Value must be at least 1", `\"needed\"`, "Must configure one of topics or topics.regex", "config/validate"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{` + cfg + `,"topics.regex":"a"}}`, 400, []string{"mutually exclusive"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{` + cfg + `,"transforms":"x"}}`, 400, []string{"not available in this version"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{` + cfg + `,"errors.deadletterqueue.topic.name":"in"}}`, 400, []string{"would come back for ever"}, nil},
		{"POST", "/connectors", `{"name":"a/b","config":{` + cfg + `}}`, 400, []string{"slash"}, nil},
		{"POST", "/connectors", `{"config":{` + cfg + `}}`, 400, []string{"has no name"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{"name":"c3",` + cfg + `}}`, 400, []string{"doesn't match"}, nil},
		{"POST", "/connectors", `{"name":"c2","initial_state":"ODD","config":{` + cfg + `}}`, 400, []string{"RUNNING, PAUSED, STOPPED"}, nil},
		{"POST", "/connectors", `[{"name":"c2"}]`, 400, []string{`"message":"the body must be an object {name, config}"`}, nil},
		{"POST", "/connectors", `{"name":5}`, 400, []string{"the body must be an object {name, config}: name cannot be a JSON number"}, nil},
		{"POST", "/connectors", `{"name":"c2","config":[]}`, 400, []string{"a configuration must be an object of options"}, nil},
		{"PUT", "/connectors/c2/config", `[]`, 400, []string{"the body must be an object of options"}, nil},
		{"POST", "/connectors", `{bad`, 400, []string{`"error_code":400`}, nil},
		{"POST", "/connectors", `{"name":"c2","config":{"x":{}}}`, 400, []string{"options are text"}, nil},
		{"POST", "/connectors", `"` + strings.Repeat("x", maxBody) + `"`, 413, []string{"larger than"}, nil},
		{"GET", "/connectors", "", 200, []string{`["c1"]`}, nil},
		{"GET", "/connectors/c1", "", 200, []string{`"tasks":[{"connector":"c1","task":0}],"type":"sink"}`}, nil},
		{"GET", "/connectors/nope", "", 404, []string{`{"error_code":404,"message":"Connector nope not found"}`}, nil},
		{"GET", "/connectors/c1/config", "", 200, []string{`{"connector.class":"MemorySink","name":"c1"`}, nil},
		{"GET", "/connectors/c1/status", "", 200, []string{`{"name":"c1","connector":{"state":"RUNNING","worker_id":"worker-1","version":"1"},"tasks":[{"id":0,"state":"RUNNING","worker_id":"worker-1","version":"1"}],"type":"sink"}`}, nil},
		{"GET", "/connectors/nope/status", "", 404, []string{"No status found for connector nope"}, nil},
		{"GET", "/connectors/c1/tasks", "", 200, []string{`[{"id":{"connector":"c1","task":0},"config":{`, `"task.class":"org.example.MemorySinkTask"`}, nil},
		{"GET", "/connectors/c1/tasks/0/status", "", 200, []string{`{"id":0,"state":"RUNNING"`}, nil},
		{"GET", "/connectors/c1/tasks/9/status", "", 404, []string{"No status found for task c1-9"}, nil},
		{"GET", "/connectors?expand=status&expand=info", "", 200, []string{`{"c1":{"info":{"name":"c1"`, `"status":{"name":"c1"`}, func() error {
			if n := len(m.values()); n != 1 {
				return fmt.Errorf("%d rows", n)
			}
			return nil
		}},
		{"GET", "/connectors/c1/topics", "", 200, []string{`{"c1":{"topics":["in"]}}`}, nil},
		{"PUT", "/connectors/c1/topics/reset", "", 202, nil, nil},
		{"GET", "/connectors/c1/topics", "", 200, []string{`{"c1":{"topics":[]}}`}, nil},
		{"GET", "/connectors/c1/offsets", "", 200, []string{`{"offsets":[{"partition":{"kafka_topic":"in","kafka_partition":0},"offset":{"kafka_offset":1}}]}`}, nil},
		{"PATCH", "/connectors/c1/offsets", `{"offsets":[{"partition":{"kafka_topic":"in","kafka_partition":0},"offset":{"kafka_offset":0}}]}`, 400, []string{"must be in the STOPPED state"}, nil},
		{"PUT", "/connectors/c1/config", `{` + cfg + `,"level":7}`, 200, []string{`"level":"7"`}, running},
		{"PUT", "/connectors/c1/config", `{"name":"other",` + cfg + `}`, 400, []string{"Connector name configuration (other) doesn't match connector name in the URL (c1)"}, nil},
		{"PUT", "/connectors/c3/config", `{` + cfg + `}`, 201, []string{`"name":"c3"`}, nil},
		{"PATCH", "/connectors/c1/config", `{"level":null,"secret":"y"}`, 200, []string{`"config":{"connector.class":"MemorySink","name":"c1","needed":"x","secret":"y","topics":"in"}`}, running},
		{"PATCH", "/connectors/c1/config", `{"needed":null}`, 400, []string{`\"needed\"`}, nil},
		{"PATCH", "/connectors/nope/config", `{}`, 404, nil, nil},
		{"POST", "/connectors/c1/restart", "", 204, nil, nil},
		{"POST", "/connectors/c1/restart?includeTasks=true", "", 202, []string{`{"name":"c1","connector":{"state":"RUNNING"`}, running},
		{"POST", "/connectors/nope/restart", "", 404, []string{"Unknown connector: nope"}, nil},
		{"POST", "/connectors/c1/tasks/0/restart", "", 204, nil, running},
		{"POST", "/connectors/c1/tasks/7/restart", "", 404, []string{"Unknown task: c1-7"}, nil},
		{"PUT", "/connectors/c1/pause", "", 202, nil, func() error {
			return statusIs(h, "c1", `"connector":{"state":"PAUSED"`, `"tasks":[{"id":0,"state":"PAUSED"`)
		}},
		{"PUT", "/connectors/c1/pause", "", 202, nil, nil},
		{"PUT", "/connectors/nope/pause", "", 404, []string{"Unknown connector nope"}, nil},
		{"PUT", "/connectors/c1/resume", "", 202, nil, running},
		{"PUT", "/connectors/c1/stop", "", 204, nil, func() error { return statusIs(h, "c1", `"connector":{"state":"STOPPED"`, `"tasks":[]`) }},
		{"GET", "/connectors/c1/tasks", "", 200, []string{`[]`}, nil},
		{"PATCH", "/connectors/c1/offsets", `{"offsets":[]}`, 400, []string{"Partitions / offsets need to be provided"}, nil},
		{"PATCH", "/connectors/c1/offsets", `{"offsets":[{"partition":{"kafka_topic":"in","kafka_partition":-1}}]}`, 400, []string{"kafka_partition"}, nil},
		{"DELETE", "/connectors/c3", "", 204, nil, nil},
		{"PATCH", "/connectors/c1/offsets", `{"offsets":[{"partition":{"kafka_topic":"in","kafka_partition":0},"offset":{"kafka_offset":0}}]}`, 200, []string{"altered successfully"}, nil},
		{"GET", "/connectors/c1/offsets", "", 200, []string{`"kafka_offset":0`}, nil},
		{"PUT", "/connectors/c1/resume", "", 202, nil, func() error {
			if got := fmt.Sprint(m.values()); got != `[{"n":1} {"n":1}]` {
				return fmt.Errorf("rows %s", got)
			}
			return nil
		}},
		{"PUT", "/connectors/c1/stop", "", 204, nil, func() error { return statusIs(h, "c1", `"state":"STOPPED"`) }},
		{"DELETE", "/connectors/c1/offsets", "", 200, []string{"reset successfully"}, nil},
		{"GET", "/connectors/c1/offsets", "", 200, []string{`{"offsets":[]}`}, nil},
		{"DELETE", "/connectors/c1", "", 204, nil, nil},
		{"DELETE", "/connectors/c1", "", 404, nil, nil},
		{"POST", "/connectors", `{"name":"c4","initial_state":"STOPPED","config":{` + cfg + `}}`, 201, []string{`"tasks":[]`}, func() error {
			return statusIs(h, "c4", `"state":"STOPPED"`, `"tasks":[]`)
		}},
		{"GET", "/connector-plugins/MemorySink/config", "", 200, []string{`{"name":"level","type":"INT","required":false,"default_value":"3","importance":"LOW","documentation":"A number.","group":"Test"`}, nil},
		{"GET", "/connector-plugins/Nope/config", "", 404, nil, nil},
		{"PUT", "/connector-plugins/MemorySink/config/validate", `{"connector.class":"MemorySink","name":"v","level":"x","secret":"bad"}`, 200,
			[]string{`"name":"org.example.MemorySinkConnector","error_count":4,"groups":["Common",`, "Not a number of type INT", "Invalid value [hidden] for configuration secret: too weak"}, nil},
		{"PUT", "/connector-plugins/MemorySink/config/validate", `{` + cfg + `,"name":"v"}`, 200, []string{`"error_count":0`}, nil},
		{"PUT", "/connector-plugins/MemorySink/config/validate", `{"connector.class":"PlainSink"}`, 400, []string{"does not match"}, nil},
		{"GET", "/nope", "", 404, []string{`{"error_code":404,"message":"HTTP 404 Not Found"}`}, nil},
		{"PUT", "/connectors", "", 405, []string{`"error_code":405`}, nil},
	}
	for _, s := range steps {
		what := s.method + " " + s.path
		rec := request(h, s.method, s.path, s.body, nil)
		body := rec.Body.String()
		if rec.Code != s.status {
			t.Fatalf("%s %.200s: status %d, want %d: %s", what, s.body, rec.Code, s.status, body)
		}
		if rec.Body.Len() > 0 && !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s: not JSON: %s", what, body)
		}
		for _, part := range s.want {
			if !strings.Contains(body, part) {
				t.Errorf("%s: answer %s\nhas no %s", what, body, part)
			}
		}
		if s.status == 201 && !strings.HasPrefix(rec.Header().Get("Location"), "http://localhost/connectors/c") {
			t.Errorf("%s: Location %q", what, rec.Header().Get("Location"))
		}
		if s.after != nil {
			eventually(t, "after "+what, s.after)
		}
	}
}

func request(h http.Handler, method, path, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if k == "Host" {
			r.Host = v
		} else {
			r.Header.Set(k, v)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func statusIs(h http.Handler, name string, parts ...string) error {
	body := request(h, "GET", "/connectors/"+name+"/status", "", nil).Body.String()
	for _, p := range parts {
		if !strings.Contains(body, p) {
			return fmt.Errorf("%s has no %s", body, p)
		}
	}
	return nil
}

func TestRESTGuards(t *testing.T) {
	_, kafka := newCluster(t, 1, "in")
	w := startWorker(t, kafka, newMemory().plugins(), func(c *Config) { c.AllowedHosts = []string{"shop.example"} })
	h := w.Handler()
	tests := []struct {
		name   string
		method string
		header map[string]string
		status int
	}{
		{"rebinding", "GET", map[string]string{"Host": "evil.example"}, 421},
		{"loopback address", "GET", map[string]string{"Host": "127.0.0.1:8083"}, 200},
		{"loopback address v6", "GET", map[string]string{"Host": "[::1]:8083"}, 200},
		{"allowed name", "GET", map[string]string{"Host": "shop.example:8083"}, 200},
		{"foreign page", "POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"foreign origin", "POST", map[string]string{"Origin": "http://evil.example"}, 403},
		{"form", "POST", map[string]string{"Content-Type": "text/plain"}, 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if rec := request(h, tt.method, "/connectors", `{}`, tt.header); rec.Code != tt.status {
				t.Errorf("status %d, want %d: %s", rec.Code, tt.status, rec.Body)
			}
		})
	}
	fresh, err := New(Config{Kafka: kafka})
	if err != nil {
		t.Fatal(err)
	}
	if rec := request(fresh.Handler(), "GET", "/connectors", "", nil); rec.Code != 503 {
		t.Errorf("before Start: status %d, want 503", rec.Code)
	}
	if err := fresh.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if fresh.Start(t.Context()) == nil {
		t.Error("a stopped worker started")
	}
}

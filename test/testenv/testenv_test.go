package testenv

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"
)

// recorder is a testing.TB that notes how a helper ended the test.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()           {}
func (r *recorder) Skip(args ...any)  { r.skipped = fmt.Sprint(args...); runtime.Goexit() }
func (r *recorder) Fatal(args ...any) { r.failed = fmt.Sprint(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) {
	r.failed = fmt.Sprintf(f, args...)
	runtime.Goexit()
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		name, value, ci         string
		want                    string
		wantSkipped, wantFailed bool
	}{
		{name: "there", value: "127.0.0.1:9092", want: "127.0.0.1:9092"},
		{name: "there, in CI", value: "127.0.0.1:9092", ci: "true", want: "127.0.0.1:9092"},
		{name: "absent", wantSkipped: true},
		{name: "absent, in CI", ci: "true", wantFailed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(kafka, c.value)
			t.Setenv("CI", c.ci)
			r, got := &recorder{TB: t}, ""
			done := make(chan struct{})
			go func() {
				defer close(done)
				got = Kafka(r)
			}()
			<-done
			if got != c.want || (r.skipped != "") != c.wantSkipped || (r.failed != "") != c.wantFailed {
				t.Errorf("got %q, skipped %q, failed %q", got, r.skipped, r.failed)
			}
			if reason := r.skipped + r.failed; reason != "" && !strings.Contains(reason, kafka) {
				t.Errorf("the reason %q does not name %s", reason, kafka)
			}
		})
	}
}

func TestServers(t *testing.T) {
	addr := Kafka(t)
	if out, err := KafkaTool(t, "", "topics", "--bootstrap-server", addr, "--list"); err != nil {
		t.Errorf("the shared Kafka at %s does not answer: %v: %s", addr, err, out)
	}
	own := StartPostgres(t)
	first := own.Addr
	if u, err := url.Parse(first); err != nil || u.Path != "/ecommerce" {
		t.Errorf("address %q is no URL of the database ecommerce (%v)", first, err)
	}
	own.Kill()
	if !free(own.Port()) {
		t.Error("the killed PostgreSQL still listens")
	}
	own.Start()
	if own.Addr != first {
		t.Errorf("started again at %s, was at %s", own.Addr, first)
	}
}

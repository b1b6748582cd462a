// Package testenv gives tests the real servers that they need: Apache Kafka and
// PostgreSQL. It owns the rule for a machine without them: the test is left out
// and says why, except where CI=true, where a test left out is a failure.
// It must not know what the servers are used for.
//
// Servers shared by all tests are named by the environment (test/servers/with
// sets it): COMPTOIR_TEST_KAFKA, COMPTOIR_TEST_POSTGRES, and
// COMPTOIR_TEST_SERVERS, the folder of the scripts with which a test starts
// servers of its own, to stop and kill them.
package testenv

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	kafka    = "COMPTOIR_TEST_KAFKA"
	postgres = "COMPTOIR_TEST_POSTGRES"
	servers  = "COMPTOIR_TEST_SERVERS"
)

// Kafka returns the bootstrap address of a real Apache Kafka that other tests
// use too: choose topic and group names of your own.
func Kafka(t testing.TB) string {
	t.Helper()
	return need(t, kafka, "a real Apache Kafka")
}

// Postgres returns the URL of a database of a real PostgreSQL that other tests
// use too: choose schema and table names of your own.
func Postgres(t testing.TB) string {
	t.Helper()
	return need(t, postgres, "a real PostgreSQL")
}

// Main runs a package whose every test needs real servers. Without them, and
// unless -v asks for the reason of each test, it runs none of them, so that
// go test's one line for the package says so: "[no tests to run]". It does not
// return; after is called before it exits.
func Main(m *testing.M, after func()) {
	flag.Parse()
	if os.Getenv(servers) == "" && !required() && !testing.Verbose() {
		if err := flag.Set("test.run", "^$"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	after()
	os.Exit(code)
}

func need(t testing.TB, variable, what string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		leaveOut(t, fmt.Sprintf("needs %s in %s: `make e2e` starts one", what, variable))
	}
	return value
}

// leaveOut ends the test: left out, or failed where nothing may be left out.
func leaveOut(t testing.TB, reason string) {
	t.Helper()
	if required() {
		t.Fatalf("%s (CI=true: nothing may be left out)", reason)
	}
	t.Skip("left out: " + reason)
}

func required() bool { return strings.EqualFold(os.Getenv("CI"), "true") }

package differential

import (
	"os"
	"strings"
	"testing"
)

// Users find in docs/broker.md what is in the tables.
func TestDifferencesAreTold(t *testing.T) {
	page, err := os.ReadFile("../../../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Join(strings.Fields(string(page)), " ")
	for _, d := range intended {
		if !strings.Contains(told, d.reason) {
			t.Errorf("docs/broker.md does not tell of %s: %s", d.name, d.reason)
		}
	}
	for key, reason := range notSpoken {
		if !strings.Contains(told, reason) {
			t.Errorf("docs/broker.md does not tell of request %d: %s", key, reason)
		}
	}
}

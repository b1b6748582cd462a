package e2e

import (
	"os"
	"testing"

	"github.com/comptoir/comptoir/test/program"
)

func TestMain(m *testing.M) {
	code := m.Run()
	program.Clean()
	os.Exit(code)
}

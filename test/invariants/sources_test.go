package invariants

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sources reads this package's own Go files, tests excepted.
func sources(t *testing.T) (files [][]byte) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, source)
	}
	return files
}

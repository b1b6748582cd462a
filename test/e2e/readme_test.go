package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/program"
)

// TestReadme runs every ```sh block of the README in order, in one folder, as a
// newcomer would: `go run ./cmd/comptoir` is the freshly built binary, and what
// stays up (`up`, `serve`) runs on until the end, on free ports in place of the
// default ones. Commands that fetch or test the project itself are not run: they
// are what runs this.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlocks(string(readme))
	if len(blocks) < 3 {
		t.Fatalf("README.md has %d blocks of commands", len(blocks))
	}
	dir := t.TempDir()
	var up *program.Process
	for _, block := range blocks {
		script := tourLines(block)
		if start := staysUp.FindStringSubmatch(script); start != nil {
			script = strings.Replace(script, start[0], "", 1)
			if up != nil {
				up.Stop(syscall.SIGINT, 10*time.Second)
			}
			up = startTour(t, dir, strings.Fields(start[1]))
		}
		if strings.TrimSpace(script) == "" {
			continue
		}
		if up != nil {
			script = strings.NewReplacer(
				"http://localhost:8080", up.Endpoints.HTTP, "http://127.0.0.1:8080", up.Endpoints.HTTP,
				"http://localhost:8083", up.Endpoints.Connect, "http://127.0.0.1:8083", up.Endpoints.Connect,
				"localhost:8080", strings.TrimPrefix(up.Endpoints.HTTP, "http://"), "localhost:8083", strings.TrimPrefix(up.Endpoints.Connect, "http://"),
				"localhost:9092", up.Endpoints.Kafka, "127.0.0.1:9092", up.Endpoints.Kafka,
			).Replace(script)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(program.Environment(), "PATH="+filepath.Dir(program.Binary(t))+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err = errors.Join(err, ctx.Err()); err != nil {
			t.Errorf("this block of README.md fails: %v\n%s\nit printed:\n%s", err, script, out)
		}
		cancel()
	}
	if up == nil {
		t.Error("README.md starts nothing with `comptoir up`")
	}
}

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	// staysUp is a line that starts what does not end by itself.
	staysUp = regexp.MustCompile(`(?m)^comptoir ((?:up|serve)\b[^\n]*?)&?[ \t]*(?:#[^\n]*)?$`)
	// aboutProject is a line that fetches, builds or tests the project itself.
	aboutProject = regexp.MustCompile(`(?m)^(?:git clone|cd comptoir|go test|go build|go install|make)\b[^\n]*$`)
)

func shellBlocks(readme string) (blocks []string) {
	for _, m := range shellBlock.FindAllStringSubmatch(readme, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// tourLines is what of a block is run.
func tourLines(block string) string {
	block = strings.ReplaceAll(block, "go run ./cmd/comptoir", "comptoir")
	block = strings.ReplaceAll(block, "./comptoir ", "comptoir ")
	return aboutProject.ReplaceAllString(block, "")
}

// startTour runs what stays up in the tour's folder, on free ports. It may name a
// data directory of its own.
func startTour(t *testing.T, dir string, args []string) *program.Process {
	t.Helper()
	data := filepath.Join(dir, "comptoir-data")
	if i := slices.Index(args, "--data-dir"); i >= 0 {
		data = filepath.Join(dir, args[i+1])
	}
	args = append(args, "--data-dir", data, "--http", "127.0.0.1:0", "--connect", "127.0.0.1:0")
	if args[0] == "up" {
		args = append(args, "--kafka", "127.0.0.1:0")
	}
	p := program.Start(t, data, args...)
	p.AwaitReady()
	return p
}

func TestTourLines(t *testing.T) {
	readme := "a\n```sh\ngit clone https://example.org/comptoir\ncd comptoir\ngo run ./cmd/comptoir up --demo   # stays up\n```\n" +
		"```json\n{}\n```\n```sh\ngo test ./...\ncomptoir topic list\n```\n"
	blocks := shellBlocks(readme)
	if len(blocks) != 2 {
		t.Fatalf("blocks %q", blocks)
	}
	first := tourLines(blocks[0])
	start := staysUp.FindStringSubmatch(first)
	if start == nil || strings.TrimSpace(start[1]) != "up --demo" || strings.TrimSpace(strings.Replace(first, start[0], "", 1)) != "" {
		t.Errorf("first block %q, starts %q", first, start)
	}
	if second := strings.TrimSpace(tourLines(blocks[1])); second != "comptoir topic list" {
		t.Errorf("second block %q", second)
	}
}

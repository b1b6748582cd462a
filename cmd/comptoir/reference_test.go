package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md")

func TestReferenceIsCurrent(t *testing.T) {
	const name = "../../docs/cli.md"
	want := reference((&app{}).root())
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != want {
		t.Errorf("%s is not what the program says: run `go test ./cmd/comptoir -run TestReferenceIsCurrent -update`", name)
	}
}

// Every command says what it does, shows an example and checks its arguments.
func TestEveryCommandIsDocumented(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help is %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Args == nil {
			t.Errorf("%s does not check its arguments", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
}

func TestConfigCommands(t *testing.T) {
	s := &shell{t: t, environ: []string{"COMPTOIR_FACTURATION_SERIES=4"}}
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("paiement: {plafond: 12.5}\n")
	out := s.ok("", "config", "print", "--config", file)
	if !strings.Contains(out, "plafond: 12.5\n") || !strings.Contains(out, "series: 4\n") {
		t.Errorf("print:\n%s", out)
	}
	if out := s.ok("", "config", "print", "-o", "json"); !strings.Contains(out, `"series":4`) || !strings.Contains(out, `"plafond":10000`) {
		t.Errorf("print -o json: %s", out)
	}
	s.ok("", "config", "check", file)
	write(out) // what print writes is a configuration
	s.ok("", "config", "check", file)
	write("paiement: {plafond: -1}\nsync: never\n")
	s.fails(exitFailure, []string{file, "paiement.plafond", "sync"}, "", "config", "check", file)
	write("paiment: {}\n")
	s.fails(exitFailure, []string{file, "line 1", "paiment"}, "", "config", "check", file)
	s.fails(exitFailure, []string{"absent"}, "", "config", "check", "absent.yaml")
}

func TestOutcome(t *testing.T) {
	for _, tc := range []struct {
		total int
		errs  []error
		want  int
	}{
		{2, nil, exitOK},
		{2, []error{notFoundf("a")}, exitPartial},
		{2, []error{notFoundf("a"), notFoundf("b")}, exitNotFound},
		{2, []error{notFoundf("a"), errors.New("b")}, exitFailure},
		{1, []error{errors.New("b")}, exitFailure},
	} {
		code := exitOK
		if err := outcome(tc.total, tc.errs); err != nil {
			code = exitCode(err)
		}
		if code != tc.want {
			t.Errorf("%d of %v: %d, want %d", tc.total, tc.errs, code, tc.want)
		}
	}
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// reference renders docs/cli.md from the tree of commands, so that the page
// cannot differ from the program.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\n<!-- Generated from cmd/comptoir by \"make generate\": do not edit. -->\n")
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		writeCommand(&b, cmd)
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(root)
	b.WriteString("\n## comptoir completion\n\nShell completion, for topics, groups, connectors, orders and products too: `comptoir completion bash --help` (also zsh, fish, powershell) says how to install it.\n")
	return b.String()
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", cmd.CommandPath())
	if cmd.Long != "" {
		b.WriteString(strings.TrimSpace(cmd.Long) + "\n")
	} else {
		b.WriteString(cmd.Short + ".\n")
	}
	if cmd.HasSubCommands() && cmd.HasParent() && cmd.Example == "" {
		return // it does nothing itself; its commands follow
	}
	if cmd.HasParent() {
		fmt.Fprintf(b, "\n    %s\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		b.WriteString("\n```sh\n" + unindent(cmd.Example) + "\n```\n")
	}
	var rows strings.Builder
	flags := func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "output" && cmd.HasParent() {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		def := ""
		switch f.DefValue {
		case "", "[]", "false", "0", "0s":
		default:
			def = fmt.Sprintf(" (default `%s`)", f.DefValue)
		}
		fmt.Fprintf(&rows, "| `%s` | %s%s |\n", name, strings.ReplaceAll(usage, "|", `\|`), def)
	}
	cmd.NonInheritedFlags().VisitAll(flags)
	cmd.InheritedFlags().VisitAll(flags)
	if rows.Len() > 0 {
		b.WriteString("\n| flag | meaning |\n|---|---|\n" + rows.String())
	}
}

func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

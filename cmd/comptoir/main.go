// Command comptoir is the whole product in one binary: the embedded shop, the
// instance beside a Kafka cluster, and the tools to look at both. This package
// owns the command line: flags, output and exit codes; what the commands do
// stands in the packages they call.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{
		in:          os.Stdin,
		out:         os.Stdout,
		err:         os.Stderr,
		environ:     os.Environ(),
		interactive: term.IsTerminal(int(os.Stdin.Fd())),
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

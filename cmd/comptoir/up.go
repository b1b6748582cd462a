package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/internal/demo"
	"github.com/comptoir/comptoir/node"
)

// nodeFlags are the flags of the commands that run a node. A flag that was given
// wins over environment and file.
type nodeFlags struct {
	config     string
	changed    []func(*node.Config)
	cmd        *cobra.Command
	demo       bool
	embedded   bool
	drainDelay time.Duration
}

// text adds a flag that sets one field of the configuration.
func (f *nodeFlags) text(name, short, usage string, set func(c *node.Config, v string)) {
	var v string
	f.cmd.Flags().StringVarP(&v, name, short, "", usage)
	f.changed = append(f.changed, func(c *node.Config) {
		if f.cmd.Flags().Changed(name) {
			set(c, v)
		}
	})
}

func (f *nodeFlags) common() {
	fl := f.cmd.Flags()
	fl.StringVar(&f.config, "config", "", "YAML `FILE` of the configuration (comptoir config print writes one)")
	f.text("data-dir", "", "`DIR` of all local state (default ./comptoir-data)", func(c *node.Config, v string) { c.DataDir = v })
	f.text("catalogue", "", "JSON or CSV `FILE` of products and first stock to load", func(c *node.Config, v string) { c.Catalogue = v })
	f.text("http", "", "`ADDR` of the HTTP listener (default 127.0.0.1:8080)", func(c *node.Config, v string) { c.HTTP = v })
	f.text("connect", "", "`ADDR` of the Kafka Connect REST API (default 127.0.0.1:8083)", func(c *node.Config, v string) { c.Connect = v })
	f.text("otlp", "", "`URL` of an OpenTelemetry collector for traces, OTLP by HTTP (default none)", func(c *node.Config, v string) { c.Traces.OTLP = v })
	f.text("log-format", "", "text or json (default text)", func(c *node.Config, v string) { c.LogFormat = v })
	level := "debug, info, warn or error (default info)"
	if f.embedded {
		level = "debug, info, warn or error (default info; warn with --demo)"
	}
	f.text("log-level", "", level, func(c *node.Config, v string) { c.LogLevel = v })
	var insecure bool
	fl.BoolVar(&insecure, "insecure", false, "allow addresses that are not loopback, without sign-in")
	f.changed = append(f.changed, func(c *node.Config) { c.Insecure = c.Insecure || insecure })
	completeWords(f.cmd, "log-format", "text", "json")
	completeWords(f.cmd, "log-level", "debug", "info", "warn", "error")
}

// load reads the configuration of the command line.
func (f *nodeFlags) load(a *app) (node.Config, error) {
	path := f.config
	if path == "" {
		path = a.getenv("COMPTOIR_CONFIG")
	}
	cfg, err := node.Load(path, a.environ)
	if err != nil {
		return cfg, usagef("%v", err)
	}
	if f.demo && cfg.LogLevel == node.Default().LogLevel {
		cfg.LogLevel = "warn" // the demo's table is not to be torn by log lines
	}
	for _, change := range f.changed {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%v", err)
	}
	return cfg, nil
}

func newLogger(cfg node.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo // Validate has refused any other
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// stopWithin bounds the stop of `up`.
const stopWithin = 2 * time.Second

func (a *app) upCommand() *cobra.Command {
	f := &nodeFlags{embedded: true}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the whole shop in this process: broker, stages, connectors",
		Long: `Starts a Kafka-protocol broker, the stages of the pipeline and the connector
runtime in one process, with all state in one folder. Any Kafka client can
connect. The first start on an empty folder loads a demo catalogue of 20
products, or the file of --catalogue: a CSV with header

  id_produit,nom_produit,prix,quantite
  2001,Théière en fonte,39.90,25
  2002,Tasse en grès,,100

or a JSON array of the same fields:

  [{"id_produit":2001,"nom_produit":"Théière en fonte","prix":39.90,"quantite":25}]

prix, per piece, may be left out; quantite is the first stock, supplied once
however often the file is loaded.

Ctrl-C stops it; a second start on the same folder goes on where it was.`,
		Example: `  comptoir up --demo
  comptoir up --data-dir /var/lib/comptoir --catalogue produits.csv
  comptoir up --http 127.0.0.1:0 --kafka 127.0.0.1:0 --connect 127.0.0.1:0`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load(a)
			if err != nil {
				return err
			}
			if f.demo && cfg.Catalogue != "" {
				return usagef("--demo and a catalogue (%s) do not go together: the demo's orders need the demo catalogue", cfg.Catalogue)
			}
			return a.up(cmd.Context(), cfg, f.demo)
		},
	}
	f.cmd = cmd
	f.common()
	f.text("kafka", "", "`ADDR` of the broker (default 127.0.0.1:9092)", func(c *node.Config, v string) { c.Kafka = v })
	f.text("sync", "", "when records are forced to the disk: commit or interval (default commit)", func(c *node.Config, v string) { c.Sync = v })
	completeWords(cmd, "sync", "commit", "interval")
	cmd.Flags().BoolVar(&f.demo, "demo", false, "send 20 orders and show them crossing")
	return cmd
}

func (a *app) up(ctx context.Context, cfg node.Config, withDemo bool) error {
	begin := time.Now()
	smallMemory()
	n, err := node.NewEmbedded(cfg, newLogger(cfg, a.err))
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	return a.runNode(ctx, n, 0, stopWithin, func(ctx context.Context) error {
		e := n.Endpoints()
		fmt.Fprintf(a.out, "Comptoir is ready after %d ms. State is in %s\n\n  Kafka    %s\n  HTTP     %s\n  Connect  %s\n\n",
			time.Since(begin).Milliseconds(), relative(cfg.DataDir), e.Kafka, e.HTTP, e.Connect)
		if withDemo {
			onTerminal, width, height := a.terminal()
			_, err := demo.Run(ctx, demo.Config{
				Kafka: n.Kafka(), API: e.HTTP, Groups: n.Groups(), Archive: n.Archived,
				Out: a.out, Terminal: onTerminal, Width: width, Height: height,
			})
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				// The shop works on, so that one can look at what went wrong.
				fmt.Fprintf(a.err, "comptoir: %v\n", err)
			}
		}
		fmt.Fprint(a.out, tryNext(cfg, e, programName(), n.Sample))
		return nil
	})
}

// runNode runs what is to be said of a started node, waits for the signal to
// stop, and stops it.
// First it says for the drain delay that it is not ready.
func (a *app) runNode(ctx context.Context, n *node.Node, drain, within time.Duration, say func(context.Context) error) error {
	err := say(ctx)
	if err == nil {
		<-ctx.Done()
		fmt.Fprintln(a.err, "stopping; once more to stop at once")
		n.Drain()
		time.Sleep(drain)
	}
	stop, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if serr := n.Stop(stop); err == nil {
		err = serr
	}
	return err
}

// terminal tells whether the output is one, and its size.
func (a *app) terminal() (is bool, width, height int) {
	f, ok := a.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false, 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return false, 0, 0
	}
	return true, width, height
}

func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(r, "..") {
		return "./" + r
	}
	return path
}

// tryNext says what a newcomer can do now, with the addresses in use and the
// program as it was called.
func tryNext(cfg node.Config, e node.Endpoints, program string, sample func() (event.Product, bool)) string {
	product, amount := "PC Gamer", "120.5"
	if p, ok := sample(); ok {
		product, amount = string(p.ID), "10"
		if event.ID(p.Name).Valid() {
			product = p.Name
		}
		if p.HasPrice && p.Price > 0 {
			amount = p.Price.String()
		}
	}
	line := fmt.Sprintf(`CLI-991:{"commandeId":991,"client":"LUCAS","montant":%s,"produit":%s}`, amount, event.AppendString(nil, product))
	dir := ""
	if cfg.DataDir != node.Default().DataDir {
		dir = " --data-dir " + relative(cfg.DataDir)
	}
	return fmt.Sprintf(`Try next, in another terminal:

  # an order by HTTP, and its way, live
  %[1]s order place --client LUCAS --amount %[5]s --product %[6]s --id 990%[4]s
  %[1]s order follow 990%[4]s
  # an order, as any Kafka producer would send it
  echo %[7]s |
    %[1]s produce commandes.ecommerce --key-separator :%[4]s
  # a moment later: what the customer was told
  %[1]s consume notifications.clients --last 1%[4]s
  # who reads what, and the lag; the archive
  %[1]s group list%[4]s
  %[1]s connector status archive%[4]s
  # the pipeline as a picture
  %[1]s topology
  curl %[2]s/metrics

Any Kafka client can use %[3]s. Ctrl-C stops.
`, program, e.HTTP, e.Kafka, dir, amount, shellQuote(product, '"'), shellQuote(line, '\''))
}

// shellQuote makes text one word of a shell's command line, between the quotes
// given unless something in the text has a meaning there.
func shellQuote(text string, quote byte) string {
	if quote == '"' && !strings.ContainsAny(text, "\"$`\\!") {
		return `"` + text + `"`
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// programName is how this program was called: what `go run` built has no name
// to repeat.
func programName() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/comptoir"
	}
	return os.Args[0]
}

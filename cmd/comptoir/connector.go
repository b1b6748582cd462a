package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) connectorCommand() *cobra.Command {
	cmd := noun("connector", "List, create, inspect and steer connectors", `Work on connectors through the REST API of Kafka Connect: Comptoir's own worker
or any other.`,
		a.connectorListCommand(), a.connectorGetCommand(), a.connectorPutCommand(), a.connectorDeleteCommand(),
		a.connectorStatusCommand(), a.connectorRestartCommand(),
		a.connectorStateCommand("pause", "Pause connectors: they keep their positions", "paused"),
		a.connectorStateCommand("resume", "Resume paused connectors", "resumed"))
	a.connectFlag(cmd)
	a.dataDirFlag(cmd)
	return cmd
}

type connectorStatus struct {
	Name      string          `json:"name"`
	Connector connectorState  `json:"connector"`
	Tasks     []connectorTask `json:"tasks"`
	Type      string          `json:"type"`
}

type connectorState struct {
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
}

type connectorTask struct {
	ID int `json:"id"`
	connectorState
}

func (a *app) connectorListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the connectors with their state",
		Example: "  comptoir connector list",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all map[string]struct {
				Status connectorStatus `json:"status"`
			}
			if err := a.rest(cmd.Context(), http.MethodGet, "/connectors?expand=status", nil, &all); err != nil {
				return err
			}
			rows := []connectorStatus{}
			for _, name := range slices.Sorted(maps.Keys(all)) {
				rows = append(rows, all[name].Status)
			}
			return a.print(rows, func(w *tableWriter) {
				w.row("NAME", "TYPE", "STATE", "TASKS")
				for _, r := range rows {
					w.row(r.Name, r.Type, r.Connector.State, taskSummary(r.Tasks))
				}
			})
		},
	}
}

// taskSummary counts tasks by state: "2 RUNNING, 1 FAILED".
func taskSummary(tasks []connectorTask) string {
	n := map[string]int{}
	for _, t := range tasks {
		n[t.State]++
	}
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
	}
	return strings.Join(parts, ", ")
}

func (a *app) connectorGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get NAME",
		Short:             "Print a connector's configuration",
		Example:           "  comptoir connector get archive -o json > archive.json",
		Args:              exactly("NAME"),
		ValidArgsFunction: complete(1, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			var config map[string]string
			if err := a.rest(cmd.Context(), http.MethodGet, connectorPath(args[0], "config"), nil, &config); err != nil {
				return err
			}
			return a.print(config, func(w *tableWriter) {
				for _, k := range slices.Sorted(maps.Keys(config)) {
					w.row(k, config[k])
				}
			})
		},
	}
}

func (a *app) connectorPutCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "put [NAME]",
		Short: "Create a connector, or change one that exists",
		Long: `Create a connector, or change one that exists. The file is {"name":…,"config":{…}}
or the configuration alone, whose name is then given as argument or as its field
"name". - reads standard input.

A copy under another name would write every record a second time, unless its
connection.url names another database.`,
		Example: "  comptoir connector put -f factures-sink.json\n  comptoir connector get archive -o json > archive.json\n  comptoir connector put archive -f archive.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s does not know what to do with %q", cmd.CommandPath(), args[1])
			}
			return nil
		},
		ValidArgsFunction: complete(1, a.connectorNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("%s needs -f FILE", cmd.CommandPath())
			}
			b, err := a.readFile(file)
			if err != nil {
				return err
			}
			name, config, err := parseConnector(b)
			if err != nil {
				return failuref("%s: %w", inputName(file), err)
			}
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				return usagef("%s does not name the connector: give the name as argument", inputName(file))
			}
			// A name inside that says otherwise would be refused.
			if _, ok := config["name"]; ok {
				config["name"] = name
			}
			var info map[string]any
			if err := a.rest(cmd.Context(), http.MethodPut, connectorPath(name, "config"), config, &info); err != nil {
				return err
			}
			return a.done("stored", []string{name})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "JSON `FILE`, - for standard input")
	return cmd
}

// maxFile bounds a file that is sent: 1 MiB, what the servers take.
const maxFile = 1 << 20

// inputName is what errors call a file.
func inputName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

func (a *app) readFile(name string) ([]byte, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, notFoundf("%w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", inputName(name), err)
	}
	if len(b) > maxFile {
		return nil, failuref("%s is larger than %d bytes", inputName(name), maxFile)
	}
	return b, nil
}

// parseConnector reads both forms. Numbers and booleans become the strings that
// Connect's configurations consist of.
func parseConnector(b []byte) (name string, config map[string]string, err error) {
	var tree map[string]json.RawMessage
	if err := json.Unmarshal(b, &tree); err != nil {
		return "", nil, fmt.Errorf("not a JSON object: %w", err)
	}
	inner, wrapped := tree["config"]
	if wrapped && len(inner) > 0 && inner[0] == '{' {
		for k := range tree {
			if k != "name" && k != "config" {
				return "", nil, fmt.Errorf("unknown field %q beside name and config", k)
			}
		}
		if n, ok := tree["name"]; ok {
			if err := json.Unmarshal(n, &name); err != nil {
				return "", nil, fmt.Errorf("name is no string")
			}
		}
		tree = nil
		if err := json.Unmarshal(inner, &tree); err != nil {
			return "", nil, fmt.Errorf("config: %w", err)
		}
	}
	config = make(map[string]string, len(tree))
	for k, raw := range tree {
		switch raw[0] {
		case '{', '[', 'n':
			return "", nil, fmt.Errorf("%s is neither text nor a number", k)
		case '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return "", nil, fmt.Errorf("%s: %w", k, err)
			}
			config[k] = s
		default:
			config[k] = string(raw)
		}
	}
	return cmp.Or(name, config["name"]), config, nil
}

func (a *app) connectorNames(ctx context.Context) ([]string, error) {
	var names []string
	err := a.rest(ctx, http.MethodGet, "/connectors", nil, &names)
	slices.Sort(names)
	return names, err
}

func connectorPath(name string, rest ...string) string {
	return strings.Join(append([]string{"/connectors", url.PathEscape(name)}, rest...), "/")
}

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/comptoir/comptoir/node"
)

func (a *app) configCommand() *cobra.Command {
	return noun("config", "Print and check the configuration", `Print and check the configuration that up and serve use. Precedence: flag, then
environment (COMPTOIR_ and the field's path in capitals), then file, then default.`,
		a.configPrintCommand(), a.configCheckCommand())
}

func (a *app) configPrintCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "print",
		Short:   "Print the configuration in force, as YAML that can be edited",
		Example: "  comptoir config print > comptoir.yaml\n  COMPTOIR_FACTURATION_SERIES=4 comptoir config print --config comptoir.yaml -o json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			c, err := node.Load(file, a.environ)
			if err != nil {
				return err
			}
			y, err := yaml.Marshal(c)
			if err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
			if a.output != "json" {
				_, err := a.out.Write(y)
				return err
			}
			var tree map[string]any // the same names and values
			if err := yaml.Unmarshal(y, &tree); err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
			return json.NewEncoder(a.out).Encode(tree)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE`; without it the defaults and the environment")
	return cmd
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "Say what is wrong with a configuration file",
		Long:    "Say what is wrong with a configuration file, together with the environment as it is now.",
		Example: "  comptoir config check comptoir.yaml",
		Args:    exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := node.Load(args[0], a.environ)
			if err != nil {
				return err
			}
			if err := c.Validate(); err != nil {
				return fmt.Errorf("configuration %s:\n%w", args[0], err)
			}
			fmt.Fprintf(a.err, "%s: ok\n", args[0])
			return nil
		},
	}
}

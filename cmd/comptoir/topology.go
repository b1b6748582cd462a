package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/commerce"
)

// stageInfo is a stage in the output of `topology -o json`.
type stageInfo struct {
	Role     string   `json:"role"`
	Group    string   `json:"group"`
	In       []string `json:"in"`
	Out      []string `json:"out"`
	Internal []string `json:"internal"`
	Stores   []string `json:"stores"`
}

func (a *app) topologyCommand() *cobra.Command {
	var stage string
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Show the pipeline as text and as Mermaid",
		Long: `Shows which stage reads and writes which topics, as text and as a Mermaid
flowchart. With --stage, the operators, stores and internal topics of one stage.
Nothing needs to run.`,
		Example: `  comptoir topology
  comptoir topology --stage service-stock
  comptoir topology -o json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			stages := slices.Concat(commerce.Flow, commerce.Extra)
			if stage != "" {
				return a.oneStage(stages, stage)
			}
			infos := make([]stageInfo, 0, len(commerce.Flow))
			for _, s := range commerce.Flow {
				top, err := s.Topology(commerce.Config{})
				if err != nil {
					return err
				}
				infos = append(infos, stageInfo{s.Role, s.Group, s.In, s.Out, top.InternalTopics(), top.Stores()})
			}
			if a.output != "table" {
				return a.encode(a.out, infos)
			}
			fmt.Fprintf(a.out, "%s\n%s", commerce.Text(), commerce.Mermaid())
			return nil
		},
	}
	cmd.Flags().StringVar(&stage, "stage", "", "role or group of one stage")
	var names []string
	for _, s := range slices.Concat(commerce.Flow, commerce.Extra) {
		names = append(names, s.Group, s.Role)
	}
	completeWords(cmd, "stage", names...)
	return cmd
}

func (a *app) oneStage(stages []commerce.Stage, name string) error {
	for _, s := range stages {
		if s.Group != name && s.Role != name {
			continue
		}
		top, err := s.Topology(commerce.Config{})
		if err != nil {
			return err
		}
		if a.output != "table" {
			return a.encode(a.out, stageInfo{s.Role, s.Group, s.In, s.Out, top.InternalTopics(), top.Stores()})
		}
		fmt.Fprintf(a.out, "%s\n%s", top.Describe(), top.Mermaid())
		return nil
	}
	return notFoundf("no stage %q: `comptoir topology` lists them", name)
}

package commerce

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestFlowIsWhatIsBuilt holds the table against the topologies.
func TestFlowIsWhatIsBuilt(t *testing.T) {
	for _, s := range slices.Concat(Flow, Extra) {
		top, err := s.Topology(Config{})
		if err != nil {
			t.Errorf("%s: %v", s.Group, err)
			continue
		}
		if top.App() != s.Group {
			t.Errorf("%s builds %s", s.Group, top.App())
		}
		in := append(top.Sources(), top.GlobalSources()...)
		slices.Sort(in)
		in = slices.Compact(in)
		if want := slices.Sorted(slices.Values(s.In)); !slices.Equal(in, want) {
			t.Errorf("%s reads %v, the table says %v", s.Group, in, want)
		}
		out := slices.Sorted(slices.Values(top.Outputs()))
		if want := slices.Sorted(slices.Values(s.Out)); !slices.Equal(out, want) {
			t.Errorf("%s writes %v, the table says %v", s.Group, out, want)
		}
		for _, internal := range top.InternalTopics() {
			if !strings.HasPrefix(internal, s.Group+"-") {
				t.Errorf("%s has the internal topic %s", s.Group, internal)
			}
		}
	}
}

// TestReadmeShowsTheFlow keeps the README's diagram equal to the table.
func TestReadmeShowsTheFlow(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```mermaid\n"+Mermaid()+"```\n") {
		t.Errorf("README.md does not hold the diagram of `comptoir topology`:\n%s", Mermaid())
	}
}

func TestTextNamesEveryStage(t *testing.T) {
	for _, s := range Flow {
		if !strings.Contains(Text(), s.Group) {
			t.Errorf("the text leaves out %s", s.Group)
		}
	}
}

package node

import (
	"encoding"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// decodeStruct reads a mapping into v, whose place in the tree is prefix. Unlike
// yaml.Decoder it goes on after an error, and says the path and the line of
// each.
func decodeStruct(v reflect.Value, prefix string, n *yaml.Node) (errs []error) {
	n = resolve(n)
	if isNull(n) {
		return nil // nothing but the name: the defaults
	}
	if n.Kind != yaml.MappingNode {
		what := "the file"
		if prefix != "" {
			what = prefix[:len(prefix)-1]
		}
		return []error{fmt.Errorf("line %d: %s must be fields with values, such as http: 127.0.0.1:8080", n.Line, what)}
	}
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("yaml")
		fields[name] = v.Field(i)
		names = append(names, name)
	}
	first := map[string]int{} // line
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		field, known := fields[key.Value]
		switch line, twice := first[key.Value]; {
		case !known || key.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("line %d: unknown field %q%s", key.Line, path, didYouMean(key.Value, names)))
			continue
		case twice:
			errs = append(errs, fmt.Errorf("line %d: %s stands already in line %d", key.Line, path, line))
			continue
		}
		first[key.Value] = key.Line
		if field.Kind() == reflect.Struct {
			errs = append(errs, decodeStruct(field, path+".", value)...)
		} else if err := decodeLeaf(field, resolve(value)); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %s: %w", value.Line, path, err))
		}
	}
	return errs
}

func decodeLeaf(v reflect.Value, n *yaml.Node) error {
	if isNull(n) {
		return nil
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && n.Kind == yaml.ScalarNode {
		return u.UnmarshalText([]byte(n.Value))
	}
	if n.Decode(v.Addr().Interface()) == nil {
		return nil
	}
	// yaml's own error names Go types.
	kind := typeName(v)
	if kind != "true or false" {
		kind = "a " + kind
	}
	if n.Kind == yaml.ScalarNode {
		return fmt.Errorf("must be %s (is %q)", kind, n.Value)
	}
	return fmt.Errorf("must be %s", kind)
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// didYouMean names the one of names that word was probably meant to be.
func didYouMean(word string, names []string) string {
	best, least := "", len(word)/3+1
	for _, name := range names {
		if d := distance(word, name); d <= least {
			best, least = name, d-1
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// distance counts the letters to insert, delete or replace from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

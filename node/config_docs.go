package node

import (
	"fmt"
	"reflect"
	"strings"
)

// ConfigReference renders docs/configuration.md from the struct, so that the
// page cannot differ from the program.
func ConfigReference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from node/config.go by "make generate": do not edit. -->

One YAML file, given with ` + "`--config`" + `. Precedence: flag, then environment, then file, then default. Unknown fields are errors.
` + "`comptoir config check FILE`" + ` tells what is wrong; ` + "`comptoir config print`" + ` shows what is in force.
Durations are written as ` + "`400d`, `1h30m`, `100ms`" + `; amounts as decimals. In the environment, lists are separated by commas.

| field | type | default | environment | meaning |
|---|---|---|---|---|
`)
	c := Default()
	for _, f := range c.fields() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", f.path, typeName(f.v), defaultText(f.v), f.env(), f.doc)
	}
	return b.String()
}

func typeName(v reflect.Value) string {
	switch v.Interface().(type) {
	case Money:
		return "decimal"
	case Duration:
		return "duration"
	case []string:
		return "list"
	case bool:
		return "true or false"
	case int:
		return "whole number"
	case float64:
		return "number"
	}
	return "text"
}

func defaultText(v reflect.Value) string {
	if v.IsZero() && (v.Kind() == reflect.String || v.Kind() == reflect.Slice) {
		return "none"
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// schemas checks JSON values against the subset of JSON Schema that the OpenAPI
// document uses. A keyword that it does not know is an error, so that nothing is
// taken for checked that is not.
type schemas struct{ document map[string]any }

var annotations = []string{"description", "example", "default"}

// resolve follows a $ref inside the document.
func (c schemas) resolve(node map[string]any) map[string]any {
	ref, ok := node["$ref"].(string)
	if !ok {
		return node
	}
	at := any(c.document)
	for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	m, ok := at.(map[string]any)
	if !ok {
		panic("the document has no " + ref)
	}
	return c.resolve(m)
}

// check returns what is wrong with v, whose numbers are json.Number.
func (c schemas) check(path string, schema map[string]any, v any) error {
	schema = c.resolve(schema)
	for keyword, want := range schema {
		if err := c.keyword(path, keyword, want, schema, v); err != nil {
			return err
		}
	}
	return nil
}

func (c schemas) keyword(path, keyword string, want any, schema map[string]any, v any) error {
	bad := func() error { return fmt.Errorf("%s: %v does not fit %s: %v", path, v, keyword, want) }
	number, isNumber := v.(json.Number)
	text, isText := v.(string)
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	size := func(n int, enough func(a, b int) bool) error {
		if !enough(n, toInt(want)) {
			return bad()
		}
		return nil
	}
	atLeast, atMost := func(a, b int) bool { return a >= b }, func(a, b int) bool { return a <= b }
	switch keyword {
	case "type":
		types, ok := want.([]any)
		if !ok {
			types = []any{want}
		}
		if !slices.ContainsFunc(types, func(t any) bool { return isType(t.(string), v) }) {
			return bad()
		}
	case "const":
		if fmt.Sprint(v) != fmt.Sprint(want) {
			return bad()
		}
	case "enum":
		if !slices.ContainsFunc(want.([]any), func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
			return bad()
		}
	case "oneOf":
		n := 0
		for _, s := range want.([]any) {
			if c.check(path, s.(map[string]any), v) == nil {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%s: %v fits %d of oneOf", path, v, n)
		}
	case "required":
		for _, name := range want.([]any) {
			if _, ok := object[name.(string)]; isObject && !ok {
				return fmt.Errorf("%s: no %s in %v", path, name, v)
			}
		}
	case "properties":
		for name, s := range want.(map[string]any) {
			if member, ok := object[name]; ok {
				if err := c.check(path+"."+name, s.(map[string]any), member); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		known, _ := schema["properties"].(map[string]any)
		for name := range object {
			if _, ok := known[name]; !ok && want != true {
				return fmt.Errorf("%s: %s is not described", path, name)
			}
		}
	case "items":
		for i, e := range list {
			if err := c.check(fmt.Sprintf("%s[%d]", path, i), want.(map[string]any), e); err != nil {
				return err
			}
		}
	case "pattern":
		if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
			return bad()
		}
	case "minLength":
		if isText {
			return size(utf8.RuneCountInString(text), atLeast)
		}
	case "maxLength":
		if isText {
			return size(utf8.RuneCountInString(text), atMost)
		}
	case "minItems":
		if isList {
			return size(len(list), atLeast)
		}
	case "maxItems":
		if isList {
			return size(len(list), atMost)
		}
	case "minimum", "maximum":
		if isNumber {
			n, err := number.Float64()
			limit, _ := strconv.ParseFloat(fmt.Sprint(want), 64)
			if err != nil || keyword == "minimum" && n < limit || keyword == "maximum" && n > limit {
				return bad()
			}
		}
	default:
		if !slices.Contains(annotations, keyword) {
			return fmt.Errorf("%s: this checker does not know the keyword %s", path, keyword)
		}
	}
	return nil
}

func toInt(v any) int {
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		panic(err)
	}
	return n
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	case json.Number:
		return name == "number" || name == "integer" && !strings.ContainsAny(v.String(), ".eE")
	}
	return false
}

// parse reads JSON as check takes it.
func parse(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return v, err
}

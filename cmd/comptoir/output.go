package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// print writes v in the format of -o; table does it for people.
func (a *app) print(v any, table func(w *tableWriter)) error {
	if a.output == "table" {
		w := &tableWriter{w: tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)}
		table(w)
		return w.flush()
	}
	return a.encode(a.out, v)
}

// encode writes one JSON line, or one YAML document with the same names.
func (a *app) encode(out io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if a.output == "json" {
		_, err := out.Write(b.Bytes())
		return err
	}
	// JSON is YAML: reading it as nodes keeps the order of the fields and
	// every digit of the numbers.
	var doc yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &doc); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	plainStyle(&doc)
	y, err := yaml.Marshal(&doc)
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	_, err = out.Write(y)
	return err
}

func plainStyle(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode || len(n.Content) > 0 {
		n.Style = 0 // text that would read as something else is quoted all the same
	}
	for _, c := range n.Content {
		plainStyle(c)
	}
}

// tableWriter aligns columns.
type tableWriter struct {
	w   *tabwriter.Writer
	err error
}

// row writes one line of cells.
func (t *tableWriter) row(cells ...any) {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteByte('\t')
		}
		s := fmt.Sprint(c)
		if s == "" {
			s = "-"
		}
		b.WriteString(cleanCell(s))
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(t.w, b.String()); err != nil && t.err == nil {
		t.err = err
	}
}

// line writes text that belongs to no column.
func (t *tableWriter) line(format string, args ...any) {
	t.flushRows()
	if _, err := fmt.Fprintf(t.w, format+"\n", args...); err != nil && t.err == nil {
		t.err = err
	}
	t.flushRows()
}

func (t *tableWriter) flushRows() {
	if err := t.w.Flush(); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *tableWriter) flush() error {
	t.flushRows()
	return t.err
}

// cleanCell keeps what comes from outside from moving the cursor or breaking
// the line.
func cleanCell(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// plural counts things: "1 member", "3 members".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// optional shows a number that may be missing as Kafka's tools do.
func optional(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

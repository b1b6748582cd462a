package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A style is the parameter of an ANSI sequence; empty is plain.
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// cell is a piece of a line.
type cell struct {
	text  string
	width int // columns; 0 for as many as the text has, negative to align right
	style style
}

// painter writes lines of cells that fit the width. It keeps the first error
// and writes nothing after it.
type painter struct {
	out    io.Writer
	width  int // 0 means no limit
	colour bool
	// archive says that there is an archive to speak of.
	archive bool
	err     error
}

func newPainter(cfg Config, noColour bool) *painter {
	p := &painter{out: cfg.Out, width: cfg.Width, colour: cfg.Terminal && !noColour, archive: cfg.Archive != nil}
	if p.width <= 0 && cfg.Terminal {
		p.width = 80
	}
	return p
}

func (p *painter) write(text string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.out, text)
	}
}

// print writes lines; an empty one is a blank line.
func (p *painter) print(lines ...[]cell) {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(p.line(l))
		b.WriteByte('\n')
	}
	p.write(b.String())
}

// line joins cells by a blank and cuts what is too wide. Trailing blanks are
// left out.
func (p *painter) line(cells []cell) string {
	var b strings.Builder
	used, gap := 0, ""
	for i, c := range cells {
		text := fit(c.text, c.width)
		if i == len(cells)-1 {
			text = strings.TrimRight(text, " ")
		}
		if p.width > 0 {
			room := p.width - used - len(gap)
			if room <= 0 {
				break
			}
			text = clip(text, room)
		}
		b.WriteString(gap)
		used += len(gap) + utf8.RuneCountInString(text)
		gap = " "
		if p.colour && c.style != "" && text != "" {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", c.style, text)
		} else {
			b.WriteString(text)
		}
	}
	return b.String()
}

// fit makes a text exactly as wide as asked.
func fit(text string, width int) string {
	if width == 0 {
		return text
	}
	right := width < 0
	width = max(width, -width)
	text = clip(text, width)
	blanks := strings.Repeat(" ", width-utf8.RuneCountInString(text))
	if right {
		return blanks + text
	}
	return text + blanks
}

// clip cuts a text to at most width columns; an ellipsis shows where. Every
// rune that the demo writes takes one column.
func clip(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return string([]rune(text)[:width-1]) + "…"
}

package demo

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/comptoir/comptoir/commerce/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run the test with -update and look at the difference); got:\n%s", path, got)
	}
}

// report replays a run and writes all that Run writes, on a fixed clock.
func report(cfg Config, noColour bool, f *pipeline, stopAfter int, missing []string) {
	b := newBoard("DEMO-MI7E2XPN", false)
	p := newPainter(cfg, noColour)
	p.title(b)
	var v view = &lines{paint: p}
	if cfg.Terminal {
		v = &table{board: b, paint: p}
	}
	v.refresh()
	replay(b, f, stopAfter, v.crossed)
	v.refresh()
	r := run{board: b, rows: len(b.invoices()), latest: []GroupLag{{Group: "service-stock"}, {Group: "connect-archive"}}}
	if missing != nil {
		r.rows--
		r.latest[0].Lag, r.latest[1].Err = 2, errors.New("there is no such group")
	}
	p.timeline(b.orders[followed])
	p.summary(b, r.summary(missing))
}

func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cfg       Config
		noColour  bool
		spoil     *pipeline
		stopAfter int
		missing   []string
	}{
		{name: "lines", stopAfter: -1},
		{name: "lines-cut", cfg: Config{Width: 60}, stopAfter: 3},
		{name: "terminal-80", cfg: Config{Terminal: true, Width: 80}, stopAfter: -1},
		{name: "terminal-120-no-colour", cfg: Config{Terminal: true, Width: 120}, noColour: true, stopAfter: -1},
		{name: "terminal-40-no-colour", cfg: Config{Terminal: true, Width: 40}, noColour: true, stopAfter: 8},
		{name: "terminal-broken", cfg: Config{Terminal: true, Width: 120}, noColour: true, stopAfter: -1,
			spoil:   &pipeline{spoil: doubled("-02", event.TopicInvoices)},
			missing: []string{"service-stock is 2 records behind", "the archive has 10 rows for 11 invoices"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.cfg.Out = &out
			tt.cfg.Archive = noRows
			if tt.spoil == nil {
				tt.spoil = &pipeline{}
			}
			report(tt.cfg, tt.noColour, tt.spoil, tt.stopAfter, tt.missing)
			golden(t, tt.name, out.Bytes())

			colours := regexp.MustCompile(`\x1b\[\d+m`).Match(out.Bytes())
			if want := tt.cfg.Terminal && !tt.noColour; colours != want {
				t.Errorf("colours: %v, want %v", colours, want)
			}
			if !tt.cfg.Terminal && bytes.ContainsRune(out.Bytes(), '\x1b') {
				t.Error("an ANSI sequence outside of a terminal")
			}
			for _, l := range screen(t, out.String()) {
				if n := utf8.RuneCountInString(l); tt.cfg.Width > 0 && n > tt.cfg.Width {
					t.Errorf("%d columns: %q", n, l)
				}
			}
		})
	}
}

// TestTableIsRedrawnInPlace plays the output on a terminal: whatever was drawn
// on the way, one table is left.
func TestTableIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	b := newBoard("DEMO-T", false)
	tb := &table{board: b, paint: newPainter(Config{Terminal: true, Width: 110, Out: &out}, false)}
	tb.paint.title(b)
	tb.refresh()
	replay(b, &pipeline{}, -1, func(*progress, hop) { tb.refresh() })
	before := out.Len()
	tb.refresh()
	if out.Len() != before {
		t.Error("drawn again though nothing has changed")
	}
	left := screen(t, out.String())
	if len(left) != tableHeight(b) {
		t.Errorf("%d lines are left, want %d:\n%s", len(left), tableHeight(b), strings.Join(left, "\n"))
	}
	for i, p := range b.orders {
		if row := left[i+2]; !strings.HasPrefix(row, string(p.id)+" "+p.client) || !strings.Contains(row, string(p.want.state)) {
			t.Errorf("row of %s: %q", p.id, row)
		}
	}
	if last := left[len(left)-1]; !strings.HasPrefix(last, "20 of 20 as promised") {
		t.Errorf("last line %q", last)
	}
}

var sequence = regexp.MustCompile("^\x1b\\[(\\d+)([AKm])")

// screen is a terminal: it returns the lines that text leaves on it, without
// their styles.
func screen(t *testing.T, text string) []string {
	t.Helper()
	rows, row, col := [][]rune{nil}, 0, 0
	for text != "" {
		if m := sequence.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch n, _ := strconv.Atoi(m[1]); m[2] {
			case "A":
				if row -= n; row < 0 {
					t.Fatal("the cursor leaves the screen")
				}
			case "K":
				rows[row] = nil
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case r == '\n':
			if row, col = row+1, 0; row == len(rows) {
				rows = append(rows, nil)
			}
		case r < ' ':
			t.Fatalf("control character %q", r)
		default:
			rows[row] = append(rows[row][:col], r)
			col++
		}
	}
	lines := make([]string, 0, len(rows))
	for _, r := range rows[:len(rows)-1] {
		lines = append(lines, string(r))
	}
	return lines
}

func TestClipAndFit(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"Inès", 0, "Inès"}, {"Inès", 4, "Inès"}, {"Inès", 6, "Inès  "}, {"Inès", -6, "  Inès"}, {"Inès", 3, "In…"}, {"Inès", -1, "…"}, {"", 2, "  "},
	} {
		if got := fit(tt.text, tt.width); got != tt.want {
			t.Errorf("fit(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
	if got := clip("abc", 0); got != "" {
		t.Errorf("clip to nothing: %q", got)
	}
}

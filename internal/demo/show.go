package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// columnNames head the steps of the table.
var columnNames = [columns]string{"cmde", "stock", "paiem.", "fact.", "notif."}

const (
	clientWidth = 16
	amountWidth = 8
	stepWidth   = 6   // up to 9999 ms
	wide        = 104 // from this width on the table has whole order ids
)

// table shows all orders at once and is redrawn in place.
type table struct {
	board *board
	paint *painter
	drawn string // what stands on the terminal
}

// tableHeight is how many lines table and title take.
func tableHeight(b *board) int { return len(b.orders) + 3 }

func (t *table) crossed(*progress, hop) {}

// refresh draws the table over the one before, all in one write so that it does
// not flicker.
func (t *table) refresh() {
	var b strings.Builder
	for _, l := range t.rows() {
		b.WriteString("\x1b[2K") // clear the line that is overwritten
		b.WriteString(t.paint.line(l))
		b.WriteByte('\n')
	}
	text := b.String()
	if text == t.drawn {
		return
	}
	up := ""
	if n := strings.Count(t.drawn, "\n"); n > 0 {
		up = fmt.Sprintf("\x1b[%dA", n)
	}
	t.drawn = text
	t.paint.write(up + text)
}

func (t *table) rows() [][]cell {
	idWidth := 2
	if t.paint.width >= wide {
		idWidth = len(t.board.orders[0].id)
	}
	head := []cell{{"id", idWidth, dim}, {"client", clientWidth, dim}, {"montant", -amountWidth, dim}}
	for _, name := range columnNames {
		head = append(head, cell{name, stepWidth, dim})
	}
	out := [][]cell{append(head, cell{"state", 0, dim})}
	over := 0
	for _, p := range t.board.orders {
		id := string(p.id)
		row := []cell{{id[len(id)-idWidth:], idWidth, ""}, {p.client, clientWidth, ""}, {p.amount, -amountWidth, ""}}
		for c := range columns {
			row = append(row, stepCell(p, c))
		}
		out = append(out, append(row, stateCell(p)))
		if p.kept() {
			over++
		}
	}
	return append(out, []cell{{fmt.Sprintf("%d of %d as promised; ✓ ✗ and the ms until a reader had the step", over, len(t.board.orders)), 0, dim}})
}

func stepCell(p *progress, c column) cell {
	h, ok := p.step(c)
	if !ok {
		return cell{"", stepWidth, ""}
	}
	text := strconv.FormatInt(h.read.Sub(p.sentAt).Milliseconds(), 10)
	if kinds[h.kind].refusal {
		return cell{"✗ " + text, stepWidth, red}
	}
	return cell{"✓ " + text, stepWidth, green}
}

func stateCell(p *progress) cell {
	text, s := string(p.state()), style("")
	switch p.state() {
	case Confirmed:
		text, s = text+" "+p.invoice, green
	case StockRefused, PaymentRefused, Rejected:
		text, s = text+" "+p.reason, red
	}
	if len(p.alerts) > 0 {
		text += " (alert " + strings.Join(p.alerts, ", ") + ")"
		if s == green {
			s = yellow
		}
	}
	if p.got[ordered] > 1 {
		text += " (sent twice)"
	}
	if _, wrong := p.compare(); len(wrong) > 0 {
		return cell{"NOT AS PROMISED: " + text, 0, red}
	}
	return cell{text, 0, s}
}

// lines shows every step of every order as a line of its own.
type lines struct{ paint *painter }

func (l *lines) refresh() {}

func (l *lines) crossed(p *progress, h hop) {
	if h.kind == moved {
		return // a consequence, told by the timeline
	}
	mark := cell{"✓", 1, green}
	switch {
	case kinds[h.kind].refusal:
		mark = cell{"✗", 1, red}
	case h.kind == flagged:
		mark = cell{"!", 1, yellow}
	}
	says := h.says
	if h.kind == ordered {
		says = p.client + ", " + p.amount + ": " + says
	}
	l.paint.print([]cell{{string(p.id), 0, ""}, {since(h.read, p), -8, dim}, {h.topic, 21, ""}, mark, {says, 0, ""}})
}

// since is the time from the sending of an order to a moment, as +12 ms.
func since(t time.Time, p *progress) string {
	return fmt.Sprintf("%+d ms", t.Sub(p.sentAt).Milliseconds())
}

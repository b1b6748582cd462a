package event

import "strconv"

// lineList is the lines of an order, judged while they are read: they are the
// only part of it that may be long.
type lineList struct {
	lines    []Line
	problems []Problem
	total    Amount
	tooMany  bool
	tooMuch  bool // the total is larger than any amount
}

// read reads the array that must come next. Lines beyond the greatest number
// are not looked at, so that the problems found stay bounded.
func (l *lineList) read(o *object) {
	r := o.r
	a := o.array()
	for a.next() {
		switch {
		case a.n > MaxLines:
			l.tooMany = true
			r.skip()
		case r.peek() == '{':
			l.line(r, a.n-1)
		default:
			if t := r.token(); t.kind == kindNull {
				l.problem(a.n-1, "", CodeMissingField, "the line is null")
			} else {
				l.problem(a.n-1, "", CodeInvalidType, "must be an object")
			}
		}
	}
}

func (l *lineList) problem(i int, field, code, detail string) {
	path := "lignes[" + strconv.Itoa(i) + "]"
	if field != "" {
		path += "." + field
	}
	l.problems = append(l.problems, Problem{code, path, detail})
}

func (l *lineList) line(r *reader, i int) {
	var id, name, count, price token
	o := r.object()
	for o.next() {
		switch o.key {
		case "id_produit":
			id = o.token()
		case "nom_produit":
			name = o.token()
		case "quantite":
			count = o.token()
		case "prix":
			price = o.token()
		default:
			o.skip()
		}
	}
	if r.err != nil {
		return
	}
	line := Line{Product: ID(id.text), Name: name.text, HasPrice: true}
	if id.absent() {
		l.problem(i, "id_produit", CodeMissingField, "the line has no product")
	} else if id.kind != kindString && id.kind != kindInteger || !line.Product.Valid() {
		l.problem(i, "id_produit", CodeInvalidType, errID)
	}
	if name.absent() {
		line.Name = ""
	} else if name.kind != kindString || name.text == "" {
		l.problem(i, "nom_produit", CodeInvalidType, errEmptyOrNoText)
	}
	if count.absent() {
		l.problem(i, "quantite", CodeMissingField, "the line has no quantity")
	} else {
		n, code, detail := quantity(count)
		if line.Quantity = n; code != "" {
			l.problem(i, "quantite", code, detail)
		}
	}
	line.Price = l.price(price, i)
	ok := true
	if line.Amount, ok = line.Price.times(line.Quantity); !ok || line.Amount > MaxAmount-l.total {
		l.tooMuch = true
	} else {
		l.total += line.Amount
	}
	l.lines = append(l.lines, line)
}

func (l *lineList) price(t token, i int) Amount {
	switch {
	case t.absent():
		l.problem(i, "prix", CodeMissingField, "the line has no price")
		return 0
	case !t.number():
		l.problem(i, "prix", CodeInvalidType, "must be a number such as 120.5")
		return 0
	}
	a, err := amountOf(t.text)
	switch {
	case err != nil:
		l.problem(i, "prix", CodeInvalidAmount, err.Error())
	case a < 0:
		l.problem(i, "prix", CodeInvalidAmount, "must not be negative")
		return 0
	}
	return a
}

// lines judges the list as a whole. The total is compared only when every part
// of it could be read.
func (j *judge) lines(l *lineList, amountOK bool) {
	j.problems = append(j.problems, l.problems...)
	switch {
	case l.tooMany:
		j.problem(CodeIncoherentLines, "lignes", "must have at most 500 lines")
	case len(l.lines) == 0 && len(l.problems) == 0:
		j.problem(CodeIncoherentLines, "lignes", "must have at least one line")
	case !amountOK || len(l.problems) > 0:
	case l.tooMuch:
		j.problem(CodeIncoherentLines, "lignes", "the sum of quantite × prix is larger than any amount, montant is "+j.order.Amount.String())
	case l.total != j.order.Amount:
		j.problem(CodeIncoherentLines, "lignes", "the sum of quantite × prix is "+l.total.String()+", montant is "+j.order.Amount.String())
	}
}

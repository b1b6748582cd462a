package event

import (
	"errors"
	"strconv"
	"time"
)

// The methods of object in this file read the current field's value as one
// type. Those whose name begins with optional take null for the zero value;
// the others count for require.

// token reads the current field's value.
func (o *object) token() token { return o.r.token() }

// skip reads over the current field's value.
func (o *object) skip() { o.r.skip() }

// required is token for a field that must be there, which null is not.
func (o *object) required() token {
	t := o.r.token()
	if t.kind == kindNull {
		o.fail("is missing")
	}
	o.got++
	return t
}

func (o *object) id() ID { return o.idOf(o.required()) }

func (o *object) optionalID() ID {
	t := o.token()
	if t.kind == kindNull {
		return ""
	}
	return o.idOf(t)
}

func (o *object) idOf(t token) ID {
	id := ID(t.text)
	if t.kind != kindString && t.kind != kindInteger || !id.Valid() {
		o.fail(errID)
		return ""
	}
	return id
}

const errID = "must be an id: a string of 1 to 200 bytes without control characters, or an integer without sign"

func (o *object) text() string { return o.textOf(o.required()) }

func (o *object) optionalText() string {
	t := o.token()
	if t.kind == kindNull {
		return ""
	}
	return o.textOf(t)
}

func (o *object) textOf(t token) string {
	if t.kind != kindString {
		o.fail("must be a string")
		return ""
	}
	return t.text
}

func (o *object) amount() Amount { return o.amountOf(o.required()) }

func (o *object) optionalAmount() (Amount, bool) {
	t := o.token()
	if t.kind == kindNull {
		return 0, false
	}
	return o.amountOf(t), true
}

func (o *object) amountOf(t token) Amount {
	if !t.number() {
		o.fail("must be a number")
		return 0
	}
	a, err := amountOf(t.text)
	if err != nil {
		o.fail(err.Error())
	}
	return a
}

func (o *object) integer() int64 { return o.integerOf(o.required()) }

func (o *object) optionalInteger() int64 {
	t := o.token()
	if t.kind == kindNull {
		return 0
	}
	return o.integerOf(t)
}

func (o *object) integerOf(t token) int64 {
	if !t.number() {
		o.fail("must be an integer")
		return 0
	}
	n, err := strconv.ParseInt(t.text, 10, 64)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			o.fail("is too large")
		} else {
			o.fail("must be an integer")
		}
		return 0
	}
	return n
}

func (o *object) boolean() bool {
	t := o.required()
	if t.kind != kindBool {
		o.fail("must be true or false")
	}
	return t.text == "true"
}

func (o *object) time() time.Time {
	t, err := ParseTime(o.text())
	if err != nil {
		o.fail(err.Error())
	}
	return t
}

package server

import (
	"errors"
	"reflect"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// codePlan says where the error codes of a type of kmsg's stand, so that an answer
// is looked through without asking for the names of its fields again.
type codePlan struct {
	codes  []int // fields
	within []withinPlan
}

type withinPlan struct {
	field int
	list  bool // the field is a slice of what the plan is for
	plan  *codePlan
}

// plans are by type; see planFor.
var plans sync.Map

// planFor returns the plan of a struct, nil if there is no code in it.
func planFor(t reflect.Type) *codePlan {
	if p, ok := plans.Load(t); ok {
		return p.(*codePlan)
	}
	p := new(codePlan)
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16:
			p.codes = append(p.codes, i)
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct:
			if sub := planFor(f.Type); sub != nil {
				p.within = append(p.within, withinPlan{i, false, sub})
			}
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if sub := planFor(f.Type.Elem()); sub != nil {
				p.within = append(p.within, withinPlan{i, true, sub})
			}
		}
	}
	if len(p.codes) == 0 && len(p.within) == 0 {
		p = nil
	}
	plans.Store(t, p)
	return p
}

// each calls fn for every error code of v that is not 0.
func (p *codePlan) each(v reflect.Value, fn func(code int16)) {
	for _, i := range p.codes {
		if code := v.Field(i).Int(); code != 0 {
			fn(int16(code))
		}
	}
	for _, w := range p.within {
		f := v.Field(w.field)
		if !w.list {
			w.plan.each(f, fn)
			continue
		}
		for i := range f.Len() {
			w.plan.each(f.Index(i), fn)
		}
	}
}

// eachCode calls fn for every error code of an answer that is not 0.
func eachCode(resp kmsg.Response, fn func(code int16)) {
	v := reflect.ValueOf(resp).Elem()
	if p := planFor(v.Type()); p != nil {
		p.each(v, fn)
	}
}

// codeName is the protocol's name of an error code.
func codeName(code int16) string {
	var e *kerr.Error
	if errors.As(kerr.ErrorForCode(code), &e) {
		return e.Message
	}
	return strconv.Itoa(int(code))
}

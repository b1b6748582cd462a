package connect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Type is the type of an option, in Kafka Connect's words.
type Type string

// The types of options. A Password is never logged.
const (
	TypeString   Type = "STRING"
	TypeInt      Type = "INT"
	TypeBool     Type = "BOOLEAN"
	TypeList     Type = "LIST"
	TypePassword Type = "PASSWORD"
	TypeClass    Type = "CLASS"
)

// Importance ranks options in documentation.
type Importance string

// The importances, in Kafka Connect's words.
const (
	High   Importance = "HIGH"
	Medium Importance = "MEDIUM"
	Low    Importance = "LOW"
)

// Option declares one configuration key. Everything said about it anywhere
// derives from here.
type Option struct {
	Name       string
	Type       Type
	Default    string
	Required   bool
	Importance Importance
	Group      string
	Doc        string
	// Allowed lists the only values taken; empty means any.
	Allowed []string
	// Min is the least value of a TypeInt.
	Min int
	// Validate judges a non-empty value further. It may be nil.
	Validate func(value string) error
}

// FieldError says what is wrong with one option.
type FieldError struct{ Name, Message string }

func (o *Option) check(value string) string {
	if value == "" {
		if o.Required {
			return fmt.Sprintf("Missing required configuration %q which has no default value.", o.Name)
		}
		return ""
	}
	invalid := func(why string) string {
		shown := value
		if o.Type == TypePassword {
			shown = "[hidden]"
		}
		return fmt.Sprintf("Invalid value %s for configuration %s: %s", shown, o.Name, why)
	}
	switch o.Type {
	case TypeInt:
		n, err := strconv.Atoi(value)
		if err != nil {
			return invalid("Not a number of type INT")
		}
		if n < o.Min {
			return invalid(fmt.Sprintf("Value must be at least %d", o.Min))
		}
	case TypeBool:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return invalid("Expected value to be either true or false")
		}
	}
	if len(o.Allowed) > 0 && !slices.Contains(o.Allowed, value) {
		return invalid("String must be one of: " + strings.Join(o.Allowed, ", "))
	}
	if o.Validate != nil {
		if err := o.Validate(value); err != nil {
			return invalid(err.Error())
		}
	}
	return ""
}

// Values are a connector's settings with the defaults filled in.
type Values struct{ m map[string]string }

// String returns the value of an option.
func (v Values) String(name string) string { return v.m[name] }

// Int returns the value of a TypeInt option; validation saw that it is one.
func (v Values) Int(name string) int {
	n, _ := strconv.Atoi(v.m[name])
	return n
}

// Bool returns the value of a TypeBool option.
func (v Values) Bool(name string) bool { return strings.EqualFold(v.m[name], "true") }

// List returns the comma-separated parts of a TypeList option.
func (v Values) List(name string) []string {
	var list []string
	for part := range strings.SplitSeq(v.m[name], ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// NewValues fills in the defaults of options. Values outside of the options
// are kept.
func NewValues(options []Option, config map[string]string) Values {
	m := make(map[string]string, len(options)+len(config))
	for i := range options {
		m[options[i].Name] = options[i].Default
	}
	for k, v := range config {
		m[k] = strings.TrimSpace(v)
	}
	for i := range options {
		if m[options[i].Name] == "" {
			m[options[i].Name] = options[i].Default
		}
	}
	return Values{m}
}

// Validate judges a configuration by the declared options.
func Validate(options []Option, config map[string]string) []FieldError {
	values := NewValues(options, config)
	var errs []FieldError
	for i := range options {
		if msg := options[i].check(values.m[options[i].Name]); msg != "" {
			errs = append(errs, FieldError{options[i].Name, msg})
		}
	}
	return errs
}

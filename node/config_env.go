package node

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// field is one leaf of the tree.
type field struct {
	path string // as in YAML, with dots
	doc  string
	v    reflect.Value
}

// env is the field's environment variable.
func (f field) env() string {
	return "COMPTOIR_" + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

// fields lists the leaves of c, in the order of the struct. Setting a value
// changes c.
func (c *Config) fields() []field {
	var out []field
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			t := v.Type().Field(i)
			path := prefix + t.Tag.Get("yaml")
			if t.Type.Kind() == reflect.Struct {
				walk(path+".", v.Field(i))
				continue
			}
			out = append(out, field{path, t.Tag.Get("doc"), v.Field(i)})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return out
}

// otherEnv are variables that begin as ours and are no fields: those of the
// commands and tests, and what Kubernetes sets for a service named comptoir.
var otherEnv = regexp.MustCompile(`^COMPTOIR_(CONFIG|BROKERS|API|CONNECT|TEST_.*|(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.*)?)?))$`)

// applyEnv sets every field whose variable is set and not empty. A variable
// that would set nothing is an error.
func (c *Config) applyEnv(environ []string) error {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	var errs []error
	var names []string
	for _, f := range c.fields() {
		names = append(names, f.env())
		if s := env[f.env()]; s != "" {
			if err := f.set(s); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f.env(), err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, "COMPTOIR_") && env[name] != "" && !slices.Contains(names, name) && !otherEnv.MatchString(name) {
			errs = append(errs, fmt.Errorf("unknown variable %s%s", name, didYouMean(name, names)))
		}
	}
	return errors.Join(errs...)
}

func (f field) set(s string) error {
	if u, ok := f.v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	switch f.v.Kind() {
	case reflect.String:
		f.v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		f.v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is no whole number", s)
		}
		f.v.SetInt(int64(n))
	case reflect.Float64:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", s)
		}
		f.v.SetFloat(n)
	case reflect.Slice:
		f.v.Set(reflect.ValueOf(SplitList(s)))
	default:
		panic("node: configuration field " + f.path + " has a type without a reader")
	}
	return nil
}

// SplitList reads a comma-separated list, blanks around its elements ignored.
func SplitList(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// RedactURL replaces the password of a URL by xxxxx. What cannot be read as a
// URL but has an @ is hidden whole.
func RedactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "xxxxx"
	}
	q := u.Query()
	if q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	if u.Scheme == "" && strings.Contains(s, "password") { // libpq's key=value form
		return "xxxxx"
	}
	return u.Redacted()
}

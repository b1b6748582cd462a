package orders

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest; the outermost value counts 1.
const maxDepth = 1000

// object is a JSON object whose members keep their literals.
type object map[string]any // nil, bool, string, json.Number, []any or object

// strict reads one JSON value as the contract wants it: UTF-8, no duplicate key,
// no lone surrogate, bounded depth. A member that is null is dropped.
func strict(value []byte) (any, error) {
	if !utf8.Valid(value) {
		return nil, errors.New("not UTF-8")
	}
	if err := surrogates(value); err != nil {
		return nil, err
	}
	if !json.Valid(value) {
		return nil, errors.New("not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	return read(dec, 1)
}

func read(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("deeper than %d", maxDepth)
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := read(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	members, seen := object{}, map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := read(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if key := name.(string); seen[key] {
			return nil, fmt.Errorf("key %q twice", key)
		} else if seen[key] = true; v != nil {
			members[key] = v
		}
	}
	_, err = dec.Token()
	return members, err
}

// surrogates refuses \uD800…\uDFFF outside of a pair. Outside of a string a
// backslash is no JSON at all, which others say.
func surrogates(value []byte) error {
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			continue
		}
		i++
		unit, ok := escape(value, i)
		if !ok || unit < 0xD800 || unit > 0xDFFF {
			continue
		}
		low, ok := escape(value, i+6)
		if unit >= 0xDC00 || value[min(i+5, len(value)-1)] != '\\' || !ok || low < 0xDC00 || low > 0xDFFF {
			return errors.New("lone surrogate")
		}
		i += 10
	}
	return nil
}

// escape reads uXXXX at i.
func escape(value []byte, i int) (uint64, bool) {
	if i+5 > len(value) || value[i] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(value[i+1:i+5]), 16, 16)
	return unit, err == nil
}

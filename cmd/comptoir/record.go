package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// timeLayout is RFC 3339 with three decimals, for times in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// jsonRecord is a record as `consume -o json` writes it and `produce --input
// json` reads it, without loss: bytes that are not UTF-8 stand in the _base64
// field instead. Null and absent mean no key, no value.
type jsonRecord struct {
	Topic       string          `json:"topic,omitempty"`
	Partition   int32           `json:"partition"`
	Offset      int64           `json:"offset"`
	Timestamp   *recordTime     `json:"timestamp,omitempty"`
	Key         json.RawMessage `json:"key"`
	KeyBase64   *string         `json:"key_base64,omitempty"`
	Value       json.RawMessage `json:"value"`
	ValueBase64 *string         `json:"value_base64,omitempty"`
	Headers     []jsonHeader    `json:"headers"`
}

type jsonHeader struct {
	Key         string          `json:"key"`
	KeyBase64   *string         `json:"key_base64,omitempty"`
	Value       json.RawMessage `json:"value"`
	ValueBase64 *string         `json:"value_base64,omitempty"`
}

// recordTime is a record's timestamp in milliseconds; written as RFC 3339, or as
// the bare number where that has no year of four digits.
type recordTime int64

func (t recordTime) MarshalJSON() ([]byte, error) {
	u := time.UnixMilli(int64(t)).UTC()
	if t < 0 || u.Year() > 9999 {
		return strconv.AppendInt(nil, int64(t), 10), nil
	}
	return strconv.AppendQuote(nil, u.Format(timeLayout)), nil
}

func (t *recordTime) UnmarshalJSON(b []byte) error {
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		*t = recordTime(n)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New("timestamp is neither a time nor milliseconds")
	}
	p, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("timestamp %q is no RFC 3339 time", s)
	}
	*t = recordTime(p.UnixMilli())
	return nil
}

func toJSONRecord(r *kgo.Record) jsonRecord {
	ts := recordTime(r.Timestamp.UnixMilli())
	out := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: &ts, Headers: []jsonHeader{}}
	out.Key, out.KeyBase64 = text(r.Key)
	out.Value, out.ValueBase64 = text(r.Value)
	for _, h := range r.Headers {
		var j jsonHeader
		if utf8.ValidString(h.Key) {
			j.Key = h.Key
		} else {
			s := base64.StdEncoding.EncodeToString([]byte(h.Key))
			j.KeyBase64 = &s
		}
		j.Value, j.ValueBase64 = text(h.Value)
		out.Headers = append(out.Headers, j)
	}
	return out
}

// text gives the JSON string of b, or null and its base64.
func text(b []byte) (json.RawMessage, *string) {
	if b == nil {
		return json.RawMessage("null"), nil
	}
	if !utf8.Valid(b) {
		s := base64.StdEncoding.EncodeToString(b)
		return json.RawMessage("null"), &s
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	must(enc.Encode(string(b))) // a string always encodes
	return bytes.TrimSpace(out.Bytes()), nil
}

// record reads one back. Partition and offset are the cluster's to give.
func (j jsonRecord) record() (*kgo.Record, error) {
	r := &kgo.Record{Topic: j.Topic}
	if j.Timestamp != nil {
		r.Timestamp = time.UnixMilli(int64(*j.Timestamp))
	}
	var err error
	if r.Key, err = untext("key", j.Key, j.KeyBase64); err != nil {
		return nil, err
	}
	if r.Value, err = untext("value", j.Value, j.ValueBase64); err != nil {
		return nil, err
	}
	for i, h := range j.Headers {
		key := h.Key
		if h.KeyBase64 != nil {
			b, err := base64.StdEncoding.DecodeString(*h.KeyBase64)
			if err != nil {
				return nil, fmt.Errorf("headers[%d].key_base64: %w", i, err)
			}
			key = string(b)
		}
		v, err := untext(fmt.Sprintf("headers[%d].value", i), h.Value, h.ValueBase64)
		if err != nil {
			return nil, err
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: v})
	}
	return r, nil
}

// untext takes a string's characters; an object, array, number or boolean is
// taken as it is written, so that a value may be given as JSON.
func untext(name string, raw json.RawMessage, b64 *string) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	absent := len(raw) == 0 || bytes.Equal(raw, []byte("null"))
	switch {
	case b64 != nil && !absent:
		return nil, fmt.Errorf("%s and %s_base64 are both given", name, name)
	case b64 != nil:
		b, err := base64.StdEncoding.DecodeString(*b64)
		if err != nil {
			return nil, fmt.Errorf("%s_base64: %w", name, err)
		}
		return b, nil // not nil even when empty
	case absent:
		return nil, nil
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return []byte(s), nil
	}
	return bytes.Clone(raw), nil
}

// parseJSONRecord reads one record from a line.
func parseJSONRecord(line []byte) (*kgo.Record, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var j jsonRecord
	if err := d.Decode(&j); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value on the line")
	}
	return j.record()
}

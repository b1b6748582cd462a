package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestProduceText(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "t", "--partitions", "3")
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("from a file\r\n\n\r\nlast without end"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.ok("", "produce", "t", "-f", file, "-k", "K", "-H", "source=main", "-H", "note=a=b", "-o", "json")
	if n := strings.Count(out, `"topic":"t","partition":`); n != 2 {
		t.Errorf("%d positions, want 2, none of an empty line:\n%s", n, out)
	}
	s.ok("CLI-991:{\"a\":\"b:c\"}\n", "produce", "t", "--key-separator", ":")
	s.ok("tabbed\tvalue\n", "produce", "t", "--key-separator", `\t`)
	s.ok(`back\slash`+"\n", "produce", "t", "--key-separator", `\\`)
	s.ok("without:\n", "produce", "t", "--key-separator", ":")

	// Kafka's murmur2 puts CLI-991 into partition 2 of 3, as its console
	// producer does.
	got := s.ok("", "consume", "t", "--offset", "start:end", "-f", `%p %k %v %h{[%k=%v]}\n`)
	for _, want := range []string{
		"K from a file [source=main][note=a=b]\n", "tabbed value ", "back slash ", "without  ", "K last without end [",
		"2 CLI-991 {\"a\":\"b:c\"} \n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	s.fails(exitPartial, []string{"1 record written", "line 2", "separator"}, "a:b\nc\nd:e\n", "produce", "t", "--key-separator", ":")
	s.fails(exitNotFound, []string{"nope", "topic create"}, "x\n", "produce", "nope")
	s.fails(exitNotFound, []string{"absent"}, "", "produce", "t", "-f", filepath.Join(t.TempDir(), "absent"))
	s.fails(exitFailure, []string{"line 1", "MESSAGE_TOO_LARGE"}, strings.Repeat("x", 3<<20)+"\n", "produce", "t")
	if got := s.ok("", "topic", "describe", "t", "-o", "json"); strings.Contains(got, "nope") {
		t.Error("produce created a topic")
	}
}

func TestJSONIsLossless(t *testing.T) {
	s := newShell(t)
	s.ok("", "topic", "create", "src", "dst", "--partitions", "1")
	cl := s.client()
	at := time.UnixMilli(1763700000123)
	want := []*kgo.Record{
		{Key: nil, Value: nil},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("clé"), Value: []byte(`{"a":1,"b":"<é&\u2028>"}`), Headers: []kgo.RecordHeader{{Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "\xff", Value: []byte{0, 0xff}}}},
		{Key: []byte{0xff, 0xfe}, Value: []byte{0, 1, 2, 0x80}},
		{Key: []byte("nul\x00\n\t"), Value: []byte("\u2028\ufffd")},
	}
	for i, r := range want {
		r.Topic, r.Timestamp = "src", at.Add(time.Duration(i)*time.Millisecond)
	}
	if err := cl.ProduceSync(t.Context(), want...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	lines := s.ok("", "consume", "src", "--from-beginning", "-n", "5", "-o", "json")
	if !strings.Contains(lines, `"timestamp":"2025-11-21T04:40:00.123Z"`) {
		t.Errorf("times are not RFC 3339 with three decimals:\n%s", lines)
	}
	s.ok(lines, "produce", "dst", "--input", "json")

	rd := s.client(kgo.ConsumeTopics("dst"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []*kgo.Record
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(got) < len(want) && ctx.Err() == nil {
		got = append(got, rd.PollFetches(ctx).Records()...)
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if !same(g.Key, w.Key) || !same(g.Value, w.Value) || !g.Timestamp.Equal(w.Timestamp) || len(g.Headers) != len(w.Headers) {
			t.Errorf("record %d: %q %q %v, want %q %q %v", i, g.Key, g.Value, g.Timestamp, w.Key, w.Value, w.Timestamp)
			continue
		}
		for j, h := range g.Headers {
			if h.Key != w.Headers[j].Key || !same(h.Value, w.Headers[j].Value) {
				t.Errorf("record %d header %d: %q, want %q", i, j, h, w.Headers[j])
			}
		}
	}
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func TestParseJSONRecord(t *testing.T) {
	for _, tc := range []struct {
		line, key, value, err string
	}{
		{line: `{"key":"a","value":"b"}`, key: `"a"`, value: `"b"`},
		{line: `{"value":{"commandeId": 1}}`, key: "nil", value: `"{\"commandeId\": 1}"`},
		{line: `{"value":[1]}`, key: "nil", value: `"[1]"`},
		{line: `{"key":12,"value":null}`, key: `"12"`, value: "nil"},
		{line: `{"key_base64":"","value_base64":"/w=="}`, key: `""`, value: `"\xff"`},
		{line: `{"value":"a","value_base64":"/w=="}`, err: "both"},
		{line: `{"value_base64":"?"}`, err: "value_base64"},
		{line: `{"valeur":"a"}`, err: "valeur"},
		{line: `{"value":"a"} {}`, err: "more than one"},
		{line: `{"timestamp":"noon"}`, err: "noon"},
		{line: `{"timestamp":true}`, err: "timestamp"},
		{line: `{"headers":[{"key":"a","value_base64":"?"}]}`, err: "headers[0].value_base64"},
		{line: `x`, err: "invalid"},
		{line: ``, err: "EOF"},
	} {
		r, err := parseJSONRecord([]byte(tc.line))
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want one with %q", tc.line, err, tc.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
			continue
		}
		if k, v := show(r.Key), show(r.Value); k != tc.key || v != tc.value {
			t.Errorf("%s: key %s value %s, want %s %s", tc.line, k, v, tc.key, tc.value)
		}
	}
}

func show(b []byte) string {
	if b == nil {
		return "nil"
	}
	return fmt.Sprintf("%q", b)
}

func TestRecordTime(t *testing.T) {
	for ms, want := range map[recordTime]string{
		0: `"1970-01-01T00:00:00.000Z"`, 1763700000123: `"2025-11-21T04:40:00.123Z"`,
		-1: `-1`, 1 << 60: `1152921504606846976`,
	} {
		b, err := json.Marshal(ms)
		if err != nil || string(b) != want {
			t.Errorf("%d: %s (%v), want %s", int64(ms), b, err, want)
		}
		var back recordTime
		if err := json.Unmarshal(b, &back); err != nil || back != ms {
			t.Errorf("%s reads back as %d (%v)", b, int64(back), err)
		}
	}
}

func FuzzJSONRecord(f *testing.F) {
	f.Add([]byte(`{"key":"a","value":{"b":1},"headers":[{"key":"h","value":null}],"timestamp":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"key_base64":"/w==","value_base64":"","timestamp":-5}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseJSONRecord(line)
		if err != nil {
			return
		}
		if r.Timestamp.IsZero() {
			r.Timestamp = time.UnixMilli(0)
		}
		b, err := json.Marshal(toJSONRecord(r))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseJSONRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !same(again.Key, r.Key) || !same(again.Value, r.Value) || !again.Timestamp.Equal(r.Timestamp) || !reflect.DeepEqual(again.Headers, r.Headers) {
			t.Fatalf("%s\nread as %+v\nthen as %+v", line, r, again)
		}
	})
}

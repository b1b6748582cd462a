package event

import (
	"math"
	"regexp"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	tests := []struct{ in, want string }{ // want: RFC3339Nano in UTC, empty for an error
		{"2026-11-20T09:30:00Z", "2026-11-20T09:30:00Z"},
		{"2026-11-20T09:30:00.5Z", "2026-11-20T09:30:00.5Z"},
		{"2026-11-20T09:30:00.123456789Z", "2026-11-20T09:30:00.123456789Z"},
		{"2026-11-20T09:30:00.1234567899Z", "2026-11-20T09:30:00.123456789Z"},
		{"2026-11-20T09:30:00+01:00", "2026-11-20T08:30:00Z"},
		{"2026-11-20T09:30:00-05:30", "2026-11-20T15:00:00Z"},
		{"2026-11-20T09:30:00-00:00", "2026-11-20T09:30:00Z"},
		{"2026-11-20t09:30:00z", "2026-11-20T09:30:00Z"},
		{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"}, // a leap second
		{"2017-01-01T00:59:60.5+01:00", "2017-01-01T00:00:00.5Z"},
		{"2016-12-31T12:59:60Z", ""},
		{"2016-12-31T23:59:61Z", ""},
		{"2026-02-29T00:00:00Z", ""},
		{"2026-02-30T00:00:00Z", ""},
		{"2026-04-31T00:00:00Z", ""},
		{"2026-00-10T00:00:00Z", ""},
		{"2026-13-10T00:00:00Z", ""},
		{"2026-11-00T00:00:00Z", ""},
		{"2026-11-32T00:00:00Z", ""},
		{"2026-11-20T24:00:00Z", ""},
		{"2026-11-20T09:60:00Z", ""},
		{"2026-11-20T09:30:00", ""},
		{"2026-11-20T09:30:00.Z", ""},
		{"2026-11-20T09:30:00,5Z", ""},
		{"2026-11-20 09:30:00Z", ""},
		{"2026-11-20T9:30:00Z", ""},
		{"2026-11-20T09:30Z", ""},
		{"2026-11-20T09:30:00+24:00", ""},
		{"2026-11-20T09:30:00+01:60", ""},
		{"2026-11-20T09:30:00+0100", ""},
		{"2026-11-20T09:30:00+01", ""},
		{"2026-11-20T09:30:00Z ", ""},
		{"2026-11-20T09:30:00ZZ", ""},
		{"2026-1a-20T09:30:00Z", ""},
		{"2026-11-20", ""},
		{"1795167000", ""},
		{"", ""},
	}
	for _, tt := range tests {
		got, err := ParseTime(tt.in)
		if (err != nil) != (tt.want == "") || err == nil && got.Format(time.RFC3339Nano) != tt.want {
			t.Errorf("ParseTime(%q) = %v, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestAppendTime(t *testing.T) {
	paris := time.FixedZone("", 3600)
	tests := []struct {
		t    time.Time
		want string
	}{
		{time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC), "2026-11-20T09:30:00.000Z"},
		{time.Date(2026, 11, 20, 9, 30, 0, 7_999_999, paris), "2026-11-20T08:30:00.007Z"},
		{time.UnixMilli(-1), "1969-12-31T23:59:59.999Z"},
		{time.UnixMilli(math.MaxInt64), "9999-12-31T23:59:59.999Z"},
		{time.UnixMilli(math.MinInt64), "0000-01-01T00:00:00.000Z"},
		{time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), "9999-12-31T23:59:59.999Z"},
	}
	for _, tt := range tests {
		if got := FormatTime(tt.t); got != tt.want {
			t.Errorf("FormatTime(%v) = %s, want %s", tt.t, got, tt.want)
		}
	}
}

// rfc3339 is the shape that package time, which is laxer here and stricter
// there, reads as we do: capitals, no leap second.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func FuzzTime(f *testing.F) {
	f.Add("2026-11-20T09:30:00.123+01:00")
	f.Add("2024-02-29T23:59:59.999999999Z")
	f.Add("2023-02-29T00:00:00Z")
	f.Add("9999-12-31T23:59:59-23:59")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s)
		if rfc3339.MatchString(s) {
			std, stdErr := time.Parse(time.RFC3339, s)
			if (err == nil) != (stdErr == nil) || err == nil && !got.Equal(std) {
				t.Fatalf("%q: %v, %v, package time reads %v, %v", s, got, err, std, stdErr)
			}
		}
		if err != nil {
			return
		}
		again, err := ParseTime(FormatTime(got))
		if err != nil || got.Before(maxTime) && !got.Before(minTime) && !again.Equal(got.Truncate(time.Millisecond)) {
			t.Fatalf("%q: %v became %v, %v", s, got, again, err)
		}
	})
}

package event

import (
	"errors"
	"time"
)

// ErrNotTime says that a text is no RFC 3339 time.
var ErrNotTime = errors.New("is not an RFC 3339 time such as 2026-11-20T09:30:00.000Z")

// The years that RFC 3339 can write.
var (
	minTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, int(999*time.Millisecond), time.UTC)
)

// AppendTime appends t in UTC with three decimals, without quotes. Times that
// RFC 3339 cannot write (a Kafka record may carry any 64-bit number) become
// the nearest that it can.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Before(minTime) {
		t = minTime
	} else if t.After(maxTime) {
		t = maxTime
	}
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	ms := t.Nanosecond() / 1e6
	b = appendTwo(b, year/100)
	b = appendTwo(b, year%100)
	b = appendTwo(append(b, '-'), int(month))
	b = appendTwo(append(b, '-'), day)
	b = appendTwo(append(b, 'T'), hour)
	b = appendTwo(append(b, ':'), minute)
	b = appendTwo(append(b, ':'), sec)
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// FormatTime returns what AppendTime appends.
func FormatTime(t time.Time) string { return string(AppendTime(make([]byte, 0, 24), t)) }

// ParseTime reads an RFC 3339 time in any zone and with any number of
// decimals, of which those beyond nanoseconds are cut off, and returns it in
// UTC. A leap second counts as the second after it.
func ParseTime(s string) (time.Time, error) {
	t, fraction, ok := splitTime(s)
	if !ok {
		return time.Time{}, ErrNotTime
	}
	nano := 0
	for i := 0; i < 9; i++ {
		nano *= 10
		if i < len(fraction) {
			nano += int(fraction[i] - '0')
		}
	}
	return t.Add(time.Duration(nano)), nil
}

// splitTime reads s up to the whole second and returns the digits of its
// fraction: time.Time alone would lose those beyond nanoseconds.
func splitTime(s string) (t time.Time, fraction string, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return
	}
	century, year, month, day := two(s), two(s[2:]), two(s[5:]), two(s[8:])
	hour, minute, sec := two(s[11:]), two(s[14:]), two(s[17:])
	if century < 0 || year < 0 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 60 {
		return
	}
	rest := s[19:]
	if rest[0] == '.' {
		n := 1
		for n < len(rest) && rest[n]-'0' <= 9 {
			n++
		}
		fraction, rest = rest[1:n], rest[n:]
		if fraction == "" {
			return
		}
	}
	offset, ok := zone(rest)
	if !ok {
		return
	}
	t = time.Date(century*100+year, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	if sec == 60 {
		// Only the last minute of a day in UTC can have one.
		if u := t.Add(-offset); u.Hour() != 0 || u.Minute() != 0 {
			return t, "", false
		}
	}
	// time.Date has turned 31 February into a day of March.
	if day > 28 && time.Date(century*100+year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day {
		return t, "", false
	}
	return t.Add(-offset), fraction, true
}

// zone reads "Z" or "+01:00" and returns how far its clocks are ahead of UTC.
func zone(s string) (ahead time.Duration, ok bool) {
	if len(s) == 1 {
		return 0, s[0]|0x20 == 'z'
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hours, minutes := two(s[1:]), two(s[4:])
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false
	}
	ahead = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if s[0] == '-' {
		ahead = -ahead
	}
	return ahead, true
}

// two reads two digits, or returns -1.
func two(s string) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

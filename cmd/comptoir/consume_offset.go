package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// bound is one end of --offset.
type bound struct {
	kind boundKind
	n    int64     // boundAt, boundStart, boundEnd: the offset, or what is added
	time time.Time // boundTime
}

type boundKind int

const (
	boundNone  boundKind = iota // read on for ever
	boundAt                     // an offset
	boundStart                  // start + n
	boundEnd                    // end + n, n ≤ 0
	boundTime
)

// parseOffsets reads --offset: FROM or FROM:TO, TO not included. A bound is
// start, end, an offset, +n (from the start), -n (before the end), or @ and a
// time: RFC 3339, a date, milliseconds, or -1h.
func parseOffsets(s string, now time.Time) (from, to bound, err error) {
	if from, ok := parseBound(s, now); ok {
		return from, bound{}, nil
	}
	// Times contain colons too: the first split of which both halves are
	// bounds is the one.
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		from, ok1 := parseBound(s[:i], now)
		to, ok2 := parseBound(s[i+1:], now)
		if ok1 && ok2 {
			if from.kind == to.kind && (from.n > to.n || from.time.After(to.time)) {
				return from, to, usagef("--offset %s ends before it begins", s)
			}
			return from, to, nil
		}
	}
	return from, to, usagef("--offset %q is none of start, end, n, +n, -n, @time, and no range n:m of two such: examples are -10, 5:8, @2026-11-20T08:00:00Z, @-1h:end", s)
}

func parseBound(s string, now time.Time) (bound, bool) {
	switch {
	case s == "start":
		return bound{kind: boundStart}, true
	case s == "end":
		return bound{kind: boundEnd}, true
	case strings.HasPrefix(s, "@"):
		t, ok := parseInstant(s[1:], now)
		return bound{kind: boundTime, time: t}, ok
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return bound{}, false
	case s[0] == '+':
		return bound{kind: boundStart, n: n}, true
	case s[0] == '-':
		return bound{kind: boundEnd, n: n}, true
	}
	return bound{kind: boundAt, n: n}, true
}

func parseInstant(s string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(s); err == nil && strings.HasPrefix(s, "-") {
		return now.Add(d), true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, true
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms >= 0 && s[0] != '+' {
		return time.UnixMilli(ms), true
	}
	return time.Time{}, false
}

// span is what to read of one partition: from, and up to but without to; to is
// -1 without end.
type span struct{ from, to int64 }

// spans resolves bounds for every partition of the topics.
func spans(ctx context.Context, adm *kadm.Client, topics []string, from, to bound) (map[topicPartition]span, error) {
	starts, err1 := adm.ListStartOffsets(ctx, topics...)
	// The end for readers of committed records: behind it nothing is shown.
	ends, err2 := adm.ListCommittedOffsets(ctx, topics...)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	var times [2]kadm.ListedOffsets
	for i, b := range []bound{from, to} {
		if b.kind == boundTime {
			var err error
			if times[i], err = adm.ListOffsetsAfterMilli(ctx, b.time.UnixMilli(), topics...); err != nil {
				return nil, fmt.Errorf("list offsets by time: %w", err)
			}
		}
	}
	out := make(map[topicPartition]span)
	var errs []error
	starts.Each(func(o kadm.ListedOffset) {
		start, end := offsetOf(starts, o.Topic, o.Partition), offsetOf(ends, o.Topic, o.Partition)
		if start == nil || end == nil {
			errs = append(errs, failuref("%s-%d: the cluster does not tell its offsets: it may have no leader", o.Topic, o.Partition))
			return
		}
		at := func(b bound, byTime kadm.ListedOffsets) int64 {
			switch b.kind {
			case boundStart:
				return *start + b.n
			case boundEnd:
				return *end + b.n
			case boundTime:
				if t := offsetOf(byTime, o.Topic, o.Partition); t != nil {
					return *t
				}
				return *end // nothing is that young
			}
			return b.n
		}
		s := span{from: min(max(at(from, times[0]), *start), *end), to: -1}
		if to.kind != boundNone {
			s.to = min(at(to, times[1]), *end)
		}
		out[topicPartition{o.Topic, o.Partition}] = s
	})
	return out, errors.Join(errs...)
}

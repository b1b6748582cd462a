package orderdb

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// alerts are what was said against the contents of an order id. Only those of
// the content that counts are shown, and which one that is may be known later.
type alerts []accused

// accused is a content with what is said against it, sorted. A content is named
// by its digest; by where its record stands if the accusation left the order
// out, for its size; and by both to say that they are the same.
type accused struct {
	Digest string   `json:"digest,omitempty"` // hexadecimal
	Origin string   `json:"origin,omitempty"`
	Codes  []string `json:"codes,omitempty"`
	At     int64    `json:"at,omitempty"` // of the last accusation
}

func encodeAlerts(a alerts) string {
	if len(a) == 0 {
		return ""
	}
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return string(b)
}

func decodeAlerts(text string) (a alerts, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &a)
	}
	return a, err
}

// add notes a code against the content with the digest, or if that is zero the
// one at origin.
func (a *alerts) add(digest [16]byte, origin Entry, code string, at int64) {
	if code == "" {
		return
	}
	of := a.of(accused{Digest: digestName(digest)})
	if digest == ([16]byte{}) {
		of = a.of(accused{Origin: originName(origin)})
	}
	of.At = max(of.At, at)
	if i, known := slices.BinarySearch(of.Codes, code); !known {
		of.Codes = slices.Insert(of.Codes, i, code)
	}
}

// place notes where a content's record stands.
func (a *alerts) place(digest [16]byte, at Entry) {
	a.of(accused{Digest: digestName(digest), Origin: originName(at)})
}

// of finds or adds the one of that name.
func (a *alerts) of(name accused) *accused {
	i, known := slices.BinarySearchFunc(*a, name, func(x, y accused) int {
		return cmp.Or(cmp.Compare(x.Digest, y.Digest), cmp.Compare(x.Origin, y.Origin))
	})
	if !known {
		*a = slices.Insert(*a, i, name)
	}
	return &(*a)[i]
}

// against returns the codes that accuse a content, sorted, and when the last of
// them did.
func (a alerts) against(digest [16]byte) (codes []string, at int64) {
	name := digestName(digest)
	places := make(map[string]bool)
	for _, x := range a {
		if x.Digest == name && x.Origin != "" {
			places[x.Origin] = true
		}
	}
	for _, x := range a {
		if x.Digest == name || x.Digest == "" && places[x.Origin] {
			codes, at = append(codes, x.Codes...), max(at, x.At)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes), at
}

func digestName(d [16]byte) string { return hex.EncodeToString(d[:]) }

func originName(e Entry) string { return fmt.Sprintf("%s/%d/%d", e.Topic, e.Partition, e.Offset) }

package orderdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// An order's timeline is kept in parts, one for each batch that had something
// of it: a row for each record would cost more than all else. A part is only
// added, never written again but by Forget, so that an id under which records
// come without end costs no more than others.

// entry is an Entry as it is stored.
type entry struct {
	time      int64
	topic     int64
	partition int32
	offset    int64
}

// entryBytes is the size of a stored entry.
const entryBytes = 24

var errEntries = errors.New("damaged timeline")

// appendEntries writes entries: time, topic, partition and offset, big-endian.
func appendEntries(b []byte, entries []entry) []byte {
	b = slices.Grow(b, entryBytes*len(entries))
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.time))
		b = binary.BigEndian.AppendUint32(b, uint32(e.topic))
		b = binary.BigEndian.AppendUint32(b, uint32(e.partition))
		b = binary.BigEndian.AppendUint64(b, uint64(e.offset))
	}
	return b
}

// parseEntries reads what appendEntries wrote, behind to.
func parseEntries(to []entry, b []byte) ([]entry, error) {
	if len(b)%entryBytes != 0 {
		return nil, errEntries
	}
	to = slices.Grow(to, len(b)/entryBytes)
	for ; len(b) > 0; b = b[entryBytes:] {
		to = append(to, entry{
			time:      int64(binary.BigEndian.Uint64(b)),
			topic:     int64(int32(binary.BigEndian.Uint32(b[8:]))),
			partition: int32(binary.BigEndian.Uint32(b[12:])),
			offset:    int64(binary.BigEndian.Uint64(b[16:])),
		})
	}
	return to, nil
}

// lastOf is the time of the last of entries, 0 if there is none.
func lastOf(entries []entry) (at int64) {
	for i := range entries {
		at = max(at, entries[i].time)
	}
	return at
}

// timeline puts entries in the order in which they are shown, each once and at
// most TimelineLimit of them. names are those of topics.
func timeline(entries []entry, names map[int64]string) []Entry {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	entries = slices.Compact(entries)
	entries = entries[:min(len(entries), TimelineLimit)]
	var out []Entry
	for _, e := range entries {
		out = append(out, Entry{Topic: names[e.topic], Partition: e.partition, Offset: e.offset, Time: millis(e.time)})
	}
	return out
}

// part names a part of a timeline.
type part struct{ number, part int64 }

// shortened is a part without what Forget took of it. It is to be deleted if
// gone, else last and entries are to be written.
type shortened struct {
	part
	last    int64
	entries []byte
	gone    bool
}

// loss is what a partition has lost: its entries from an offset on.
type loss struct {
	topic     int64
	partition int32
	from      int64
}

// mark is in the stored form of every entry of the partition, and rarely in
// others.
func (l loss) mark() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(l.topic))
	return binary.BigEndian.AppendUint32(b, uint32(l.partition))
}

// shorten removes what is lost from a part; ok is false if that is nothing.
func (l loss) shorten(p part, stored []byte, verdict bool) (s shortened, ok bool, err error) {
	entries, err := parseEntries(nil, stored)
	if err != nil {
		return s, false, err
	}
	n := len(entries)
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		return e.topic == l.topic && e.partition == l.partition && e.offset >= l.from
	})
	return shortened{p, lastOf(entries), appendEntries([]byte{}, entries), len(entries) == 0 && !verdict}, len(entries) < n, nil
}

// scan reads a part (number, part, entries, whether there is a verdict), adds it
// to found if it is to be shortened, and moves after on.
func (l loss) scan(scan func(...any) error, after *part, found *[]shortened) error {
	var stored []byte
	var verdict bool
	if err := scan(&after.number, &after.part, &stored, &verdict); err != nil {
		return err
	}
	s, ok, err := l.shorten(*after, stored, verdict)
	if ok {
		*found = append(*found, s)
	}
	return err
}

// forgetPage is how many parts Forget looks at in one go.
const forgetPage = 2000

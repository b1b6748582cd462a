package store

import "sync"

// newest is how many of a partition's latest pointers are kept in memory, for
// those who follow its end.
const newest = 32

// view is what readers see without asking Pebble: the bounds of every partition
// and its newest pointers. It is brought up to date after each write.
type view struct {
	mu    sync.RWMutex
	parts map[Partition]*latest
}

type latest struct {
	row
	tail []pointer // ascending, without a gap up to row.next
}

// publish makes a frame visible whose effects are in rows.
func (v *view) publish(rows map[Partition]row, moved map[Partition]struct{}, edits []edit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for p := range moved {
		r, ok := rows[p]
		if !ok {
			delete(v.parts, p)
			continue
		}
		l := v.parts[p]
		if l == nil {
			l = &latest{}
			v.parts[p] = l
		}
		l.row = r
	}
	for i := range edits {
		if l := v.parts[edits[i].p]; l != nil {
			l.edit(&edits[i])
		}
	}
}

func (l *latest) edit(c *edit) {
	switch c.kind {
	case opAppend:
		if len(l.tail) >= 2*newest {
			l.tail = l.tail[:copy(l.tail, l.tail[len(l.tail)-newest:])]
		}
		l.tail = append(l.tail, c.e)
	case opDrop:
		l.tail = l.tail[:0]
	case opTrim:
		l.tail = l.tail[:copy(l.tail, l.tail[l.find(c.e.last):])]
	case opDelete:
		if i := l.find(c.e.last); i < len(l.tail) && l.tail[i].last == c.e.last {
			l.tail = append(l.tail[:i], l.tail[i+1:]...)
		}
	case opReplace, opMove:
		if i := l.find(c.e.last); i < len(l.tail) && l.tail[i].last == c.e.last {
			l.tail[i] = c.e
		}
	}
}

// find returns the index of the first pointer whose last offset is >= offset.
func (l *latest) find(offset int64) int {
	i, j := 0, len(l.tail)
	for i < j {
		if m := (i + j) / 2; l.tail[m].last < offset {
			i = m + 1
		} else {
			j = m
		}
	}
	return i
}

// load sets what the index holds at start.
func (v *view) load(rows map[Partition]row) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.parts = make(map[Partition]*latest, len(rows))
	for p, r := range rows {
		v.parts[p] = &latest{row: r}
	}
}

func (v *view) row(p Partition) (row, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if l := v.parts[p]; l != nil {
		return l.row, true
	}
	return row{}, false
}

// collect appends the pointers of p from the batch that holds from on, as want
// says. It returns false if they are not all here.
func (v *view) collect(p Partition, from int64, dst []pointer, want func(*pointer) bool) ([]pointer, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	l := v.parts[p]
	if l == nil || from >= l.next {
		return dst, true
	}
	// What lies between two batches belongs to the later.
	if len(l.tail) == 0 || from < l.tail[0].base && l.tail[0].base != l.first {
		return dst, false
	}
	for i := l.find(from); i < len(l.tail) && want(&l.tail[i]); i++ {
		dst = append(dst, l.tail[i])
	}
	return dst, true
}

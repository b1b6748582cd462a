package orderdb

import "time"

// recentKept is how many entries a generation has: under a backlog an order's
// records are some ten thousand orders apart, and to read an order costs as much
// as to write it. One takes about 500 bytes.
const recentKept = 32768

// recentLasts is after how long without work all of them are forgotten: longer
// than an order's records take to come, and short, since tracking also rests when
// the stages press, and they need the memory then.
const recentLasts = time.Second

// recent keeps what the writer had in its hands last, so that an order's records,
// which come within a second, do not each read it again. It is in two
// generations: when the young one is full it becomes the old one, which is
// forgotten, except what was asked for meanwhile.
type recent[K comparable, V any] struct{ young, old map[K]V }

func (c *recent[K, V]) get(k K) (v V, ok bool) {
	if v, ok = c.young[k]; ok {
		return v, true
	}
	if v, ok = c.old[k]; ok {
		c.put(k, v)
	}
	return v, ok
}

func (c *recent[K, V]) put(k K, v V) {
	if len(c.young) >= recentKept {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[K]V)
	}
	c.young[k] = v
}

// clear forgets everything.
func (c *recent[K, V]) clear() { c.young, c.old = nil, nil }

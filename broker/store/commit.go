package store

// Partition is a partition's log for ever: a topic made anew gets new numbers.
type Partition uint64

// Mark is a position in the journal's history; later ones are larger.
type Mark uint64

// Commit is what one Write makes exist, all of it or nothing. It is not safe
// for concurrent use.
type Commit struct {
	ops []op
}

type op struct {
	kind       opKind
	partition  Partition
	base, last int64
	key, value []byte
}

type opKind byte

const (
	opAppend opKind = iota + 1
	opSet
	opDelete
	opDeleteRange
	opTrim
	opDrop
	opReplace
)

// Append adds a record batch at the end of p; its base offset is set already.
// The bytes are the commit's until Write returns.
func (c *Commit) Append(p Partition, b []byte) {
	c.ops = append(c.ops, op{kind: opAppend, partition: p, value: b})
}

// Set gives a key a value.
func (c *Commit) Set(key, value []byte) {
	c.ops = append(c.ops, op{kind: opSet, key: key, value: value})
}

// Delete takes a key away.
func (c *Commit) Delete(key []byte) { c.ops = append(c.ops, op{kind: opDelete, key: key}) }

// DeleteRange takes the keys from from to below to away.
func (c *Commit) DeleteRange(from, to []byte) {
	c.ops = append(c.ops, op{kind: opDeleteRange, key: from, value: to})
}

// Trim forgets the batches of p whose last offset is below before.
func (c *Commit) Trim(p Partition, before int64) {
	c.ops = append(c.ops, op{kind: opTrim, partition: p, base: before})
}

// Drop forgets all of p.
func (c *Commit) Drop(p Partition) { c.ops = append(c.ops, op{kind: opDrop, partition: p}) }

// Replace puts b, which may be empty, in the place of the batch of p from base
// to last, if that is still there.
func (c *Commit) Replace(p Partition, base, last int64, b []byte) {
	c.ops = append(c.ops, op{kind: opReplace, partition: p, base: base, last: last, value: b})
}

// Empty says whether nothing is in the commit.
func (c *Commit) Empty() bool { return len(c.ops) == 0 }

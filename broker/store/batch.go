package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// castagnoli is the checksum of frames and of record batches; the hardware has it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	batchOverhead = 61 // the header of a record batch of format 2
	batchPrefix   = 12 // base offset and length, which the length does not count
	batchChecked  = 21 // the checksum covers what follows it
)

// batchHeader is what the store wants to know of a record batch.
type batchHeader struct {
	base         int64
	last         int64
	maxTimestamp int64
	attributes   int16
}

// parseBatch reads the header of a record batch that fills b exactly. It does
// not check the checksum.
func parseBatch(b []byte) (batchHeader, error) {
	if len(b) < batchOverhead {
		return batchHeader{}, fmt.Errorf("record batch of %d bytes has no room for its header", len(b))
	}
	if n := int64(int32(binary.BigEndian.Uint32(b[8:]))); n != int64(len(b)-batchPrefix) {
		return batchHeader{}, fmt.Errorf("record batch of %d bytes says that its length is %d", len(b), n)
	}
	if b[16] != 2 {
		return batchHeader{}, fmt.Errorf("record batch has format %d, not 2", b[16])
	}
	h := batchHeader{
		base:         int64(binary.BigEndian.Uint64(b)),
		attributes:   int16(binary.BigEndian.Uint16(b[21:])),
		maxTimestamp: int64(binary.BigEndian.Uint64(b[35:])),
	}
	delta := int32(binary.BigEndian.Uint32(b[23:]))
	if h.base < 0 || delta < 0 || h.base > math.MaxInt64-1-int64(delta) {
		return batchHeader{}, fmt.Errorf("record batch at offset %d with %d more has no place", h.base, delta)
	}
	h.last = h.base + int64(delta)
	return h, nil
}

// checkBatch tells what is wrong with a record batch that was read as the one at
// base: the first bytes of it are outside its own checksum.
func checkBatch(b []byte, base int64) error {
	h, err := parseBatch(b)
	switch {
	case err != nil:
		return err
	case h.base != base:
		return fmt.Errorf("record batch has base offset %d, not %d", h.base, base)
	case binary.BigEndian.Uint32(b[17:]) != crc32.Checksum(b[batchChecked:], castagnoli):
		return fmt.Errorf("checksum of the record batch at offset %d does not match", base)
	}
	return nil
}

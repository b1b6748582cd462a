package store

import (
	"fmt"
	"hash/crc32"
	"math"

	"github.com/comptoir/comptoir/broker/batch"
)

// castagnoli is the checksum of frames; the hardware has it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseBatch reads the header of a record batch that fills b exactly and that
// has a place in a log. It does not check the checksum.
func parseBatch(b []byte) (batch.Header, error) {
	h, err := batch.Parse(b)
	switch {
	case err != nil:
		return h, err
	case h.Size != len(b):
		return h, fmt.Errorf("record batch of %d bytes has %d bytes behind it", h.Size, len(b)-h.Size)
	case h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-1-int64(h.LastOffsetDelta):
		return h, fmt.Errorf("record batch at offset %d with %d more has no place", h.BaseOffset, h.LastOffsetDelta)
	}
	return h, nil
}

// checkBatch tells what is wrong with a record batch that was read as the one at
// base: the first bytes of it are outside its own checksum.
func checkBatch(b []byte, base int64) error {
	h, err := parseBatch(b)
	switch {
	case err != nil:
		return err
	case h.BaseOffset != base:
		return fmt.Errorf("record batch has base offset %d, not %d", h.BaseOffset, base)
	case !batch.Check(b, h):
		return fmt.Errorf("checksum of the record batch at offset %d does not match", base)
	}
	return nil
}

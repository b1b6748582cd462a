// Package batch knows the record batch, version 2: the unit in which clients
// send records, the log keeps them and readers get them. It owns its header and
// checksum, the control batches that end a transaction, and the walk over
// records. It must not know partitions, producers or files.
//
// Source: the message format of Apache Kafka, "Record Batch", and KIP-98.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// HeaderSize is the size in bytes of what stands before the records.
	HeaderSize = 61
	// lengthEnd is where the counting of the length field begins.
	lengthEnd = 12
	// checkedFrom is where the checksum begins to look: the base offset and the
	// leader epoch before it are the broker's to set.
	checkedFrom = 21
)

// Bits of the attributes.
const (
	compressionMask   = 0x07
	logAppendTimeBit  = 0x08
	transactionalBit  = 0x10
	controlBit        = 0x20
	deleteHorizonBit  = 0x40
	unknownAttributes = ^int16(compressionMask | logAppendTimeBit | transactionalBit | controlBit | deleteHorizonBit)
)

// NoProducer is the producer id of records that no idempotent producer sent.
const NoProducer int64 = -1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is what a batch says of itself.
type Header struct {
	BaseOffset      int64
	Size            int // of the whole batch in bytes
	LeaderEpoch     int32
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	FirstTimestamp  int64 // milliseconds since 1970
	MaxTimestamp    int64 // milliseconds since 1970
	ProducerID      int64 // NoProducer for none
	ProducerEpoch   int16
	BaseSequence    int32
	NumRecords      int32
}

// LastOffset returns the offset of the batch's last record; compaction may have
// taken that record away.
func (h Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// LastSequence returns the sequence number of the last record. Numbers go on
// from 0 after the largest.
func (h Header) LastSequence() int32 { return addSequence(h.BaseSequence, h.LastOffsetDelta) }

// Transactional says whether the batch belongs to a transaction.
func (h Header) Transactional() bool { return h.Attributes&transactionalBit != 0 }

// Control says whether the batch is a marker of the broker's.
func (h Header) Control() bool { return h.Attributes&controlBit != 0 }

// LogAppendTime says whether its time is the broker's.
func (h Header) LogAppendTime() bool { return h.Attributes&logAppendTimeBit != 0 }

// Compression returns the codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
func (h Header) Compression() int { return int(h.Attributes & compressionMask) }

// addSequence adds to a sequence number, which wraps to 0 after 2^31-1.
func addSequence(s, n int32) int32 { return int32((uint32(s) + uint32(n)) & 0x7fffffff) }

// NextSequence returns the number that follows s.
func NextSequence(s int32) int32 { return addSequence(s, 1) }

// ErrMagic is the error of a batch of an older version.
var ErrMagic = errors.New("not a record batch of version 2")

// ErrDamaged is the error of a header that nobody can have meant. It is wrapped.
var ErrDamaged = errors.New("the record batch is damaged")

// ErrCount is the error of a header whose number of records does not fit its
// offsets. It is wrapped.
var ErrCount = errors.New("record batch: its number of records does not fit its offsets")

// Parse reads the header of the batch at the start of b, which may go on behind
// it. It checks that the batch is whole and that its fields can be true; Check
// looks at the checksum.
func Parse(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		// The magic byte stands at the same place in all versions.
		if len(b) > 16 && b[16] < 2 {
			return Header{}, ErrMagic
		}
		return Header{}, fmt.Errorf("record batch: %d bytes, a header has %d", len(b), HeaderSize)
	}
	if b[16] > 2 {
		return Header{}, fmt.Errorf("%w: its version is %d", ErrDamaged, b[16])
	}
	if b[16] != 2 {
		return Header{}, ErrMagic
	}
	length := int32(binary.BigEndian.Uint32(b[8:]))
	if length < HeaderSize-lengthEnd {
		return Header{}, fmt.Errorf("%w: it says that it has %d bytes", ErrDamaged, length)
	}
	if int64(length) > int64(len(b)-lengthEnd) {
		return Header{}, fmt.Errorf("record batch: it says %d bytes, there are %d", length, len(b)-lengthEnd)
	}
	h := Header{
		BaseOffset:      int64(binary.BigEndian.Uint64(b)),
		Size:            lengthEnd + int(length),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[12:])),
		CRC:             binary.BigEndian.Uint32(b[17:]),
		Attributes:      int16(binary.BigEndian.Uint16(b[21:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[23:])),
		FirstTimestamp:  int64(binary.BigEndian.Uint64(b[27:])),
		MaxTimestamp:    int64(binary.BigEndian.Uint64(b[35:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[43:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[51:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[53:])),
		NumRecords:      int32(binary.BigEndian.Uint32(b[57:])),
	}
	if h.LastOffsetDelta < 0 || h.NumRecords < 0 || int64(h.NumRecords) > int64(h.LastOffsetDelta)+1 {
		return Header{}, fmt.Errorf("%w: %d records, the last one %d after the first", ErrCount, h.NumRecords, h.LastOffsetDelta)
	}
	return h, nil
}

// Check says whether the checksum of the batch at the start of b, of which h is
// the header, is right.
func Check(b []byte, h Header) bool {
	return crc32.Checksum(b[checkedFrom:h.Size], castagnoli) == h.CRC
}

// Place sets what the broker decides: the base offset and the leader epoch. The
// checksum does not cover them.
func Place(b []byte, base int64, epoch int32) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[12:], uint32(epoch))
}

// StampAppendTime gives the batch the broker's time, in milliseconds since 1970,
// in place of the producer's, and a new checksum.
func StampAppendTime(b []byte, h Header, ms int64) {
	binary.BigEndian.PutUint16(b[21:], uint16(h.Attributes|logAppendTimeBit))
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	seal(b[:h.Size])
}

// seal sets the checksum of a whole batch.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[checkedFrom:], castagnoli))
}

// Marker returns the control batch that ends a producer's transaction on a
// partition. Its base offset is still to be placed; it takes one offset. ms is
// the time in milliseconds since 1970.
func Marker(producer int64, epoch int16, commit bool, ms int64) []byte {
	// Key: version int16, type int16 (0 abort, 1 commit). Value: version int16,
	// coordinator epoch int32. All lengths below fit a byte as varints.
	kind := byte(0)
	if commit {
		kind = 1
	}
	record := []byte{0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0}
	b := make([]byte, HeaderSize, HeaderSize+1+len(record))
	b = append(b, byte(len(record)<<1))
	b = append(b, record...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthEnd))
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], transactionalBit|controlBit)
	binary.BigEndian.PutUint64(b[27:], uint64(ms))
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0)) // no sequence
	binary.BigEndian.PutUint32(b[57:], 1)
	seal(b)
	return b
}

// Acceptable says why a batch that a client sent is refused, or nil: what a
// broker alone writes, and what nobody can read.
func Acceptable(h Header) error {
	switch {
	case h.Control():
		return errors.New("record batch: a client cannot write control records")
	case h.LogAppendTime():
		return errors.New("record batch: the broker alone stamps append times")
	case h.Attributes&unknownAttributes != 0:
		return fmt.Errorf("record batch: unknown attributes %#x", uint16(h.Attributes))
	case h.Compression() > LastCodec:
		return fmt.Errorf("record batch: unknown codec %d", h.Compression())
	case h.NumRecords == 0:
		return errors.New("record batch: no records")
	case h.NumRecords != h.LastOffsetDelta+1:
		return fmt.Errorf("record batch: %d records for %d offsets", h.NumRecords, int64(h.LastOffsetDelta)+1)
	case h.ProducerID != NoProducer && (h.ProducerEpoch < 0 || h.BaseSequence < 0):
		return errors.New("record batch: a producer id without epoch or sequence")
	case h.ProducerID == NoProducer && h.Transactional():
		return errors.New("record batch: a transaction without a producer")
	}
	return nil
}

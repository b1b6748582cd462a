package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// DeleteHorizon returns the time in milliseconds since 1970 from which on the
// batch's tombstones, or its marker, may be forgotten; ok is false while no
// compaction has set one. It stands where the first timestamp was.
func (h Header) DeleteHorizon() (ms int64, ok bool) {
	return h.FirstTimestamp, h.Attributes&deleteHorizonBit != 0
}

// Rebuild returns the whole batch b, of which h is the header, with those records
// only that keep wants. Offsets, producer and sequences stay, also when no record
// is left; so does the codec. A positive horizon becomes the delete horizon.
func Rebuild(b []byte, h Header, keep func(Record) bool, horizon int64) ([]byte, error) {
	var records []byte
	n := int32(0)
	latest := h.MaxTimestamp
	if !h.LogAppendTime() {
		latest = -1
	}
	err := Records(b, h, func(r Record) bool {
		if !keep(r) {
			return true
		}
		n++
		latest = max(latest, r.Timestamp)
		if horizon > 0 {
			records = rebase(records, r.Raw, h.FirstTimestamp-horizon)
		} else {
			records = append(records, r.Raw...)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if n == 0 {
		latest = h.MaxTimestamp
	}
	codec := codecNone
	if n > 0 {
		if records, codec, err = compress(records, h.Compression()); err != nil {
			return nil, err
		}
	}
	out := make([]byte, HeaderSize, HeaderSize+len(records))
	copy(out, b[:HeaderSize])
	out = append(out, records...)
	attributes := h.Attributes&^compressionMask | int16(codec)
	if horizon > 0 {
		attributes |= deleteHorizonBit
		binary.BigEndian.PutUint64(out[27:], uint64(horizon))
	}
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-lengthEnd))
	binary.BigEndian.PutUint16(out[21:], uint16(attributes))
	binary.BigEndian.PutUint64(out[35:], uint64(latest))
	binary.BigEndian.PutUint32(out[57:], uint32(n))
	seal(out)
	return out, nil
}

// rebase appends a record, as Record.Raw has it, with by added to its distance
// from the batch's first timestamp.
func rebase(dst, raw []byte, by int64) []byte {
	_, n := binary.Varint(raw)
	body := raw[n:]
	delta, size := binary.Varint(body[1:])
	changed := binary.AppendVarint(nil, delta+by)
	rest := body[1+size:]
	dst = binary.AppendVarint(dst, int64(1+len(changed)+len(rest)))
	dst = append(append(dst, body[0]), changed...)
	return append(dst, rest...)
}

// compressors write each codec as clients read it.
var compressors = func() (all [codecZstd + 1]kgo.Compressor) {
	for codec, c := range map[int]kgo.CompressionCodec{
		codecGzip: kgo.GzipCompression(), codecSnappy: kgo.SnappyCompression(),
		codecLZ4: kgo.Lz4Compression(), codecZstd: kgo.ZstdCompression(),
	} {
		all[codec], _ = kgo.DefaultCompressor(c) // it knows its own
	}
	return all
}()

// compress returns b in a codec, and the codec.
func compress(b []byte, codec int) ([]byte, int, error) {
	if codec == codecNone {
		return b, codecNone, nil
	}
	if codec >= len(compressors) {
		return nil, 0, fmt.Errorf("record batch: unknown codec %d", codec)
	}
	out, used := compressors[codec].Compress(new(bytes.Buffer), b)
	if used < 0 {
		return nil, 0, fmt.Errorf("record batch: its records cannot be compressed with codec %d", codec)
	}
	return out, int(used), nil
}

// ParseMarker reads the marker of the whole control batch b, of which h is the
// header: whether it commits its transaction or aborts it.
func ParseMarker(b []byte, h Header) (commit, ok bool) {
	err := Records(b, h, func(r Record) bool {
		if len(r.Key) >= 4 && h.Control() {
			kind := binary.BigEndian.Uint16(r.Key[2:])
			commit, ok = kind == 1, kind <= 1
		}
		return false
	})
	return commit, ok && err == nil
}

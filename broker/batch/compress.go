package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxRecords is the largest size in bytes of a batch's records once they are
// decompressed: a few bytes may announce gigabytes.
const maxRecords = 128 << 20

var errTooLarge = fmt.Errorf("record batch: more than %d bytes when decompressed", maxRecords)

// Codecs, as the attributes number them.
const (
	codecNone = iota
	codecGzip
	codecSnappy
	codecLZ4
	codecZstd

	// LastCodec is the largest number of a codec.
	LastCodec = codecZstd
)

func decompress(b []byte, codec int) ([]byte, error) {
	switch codec {
	case codecNone:
		return b, nil
	case codecGzip:
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("record batch: gzip: %w", err)
		}
		return readLimited(r, "gzip")
	case codecSnappy:
		return unsnappy(b)
	case codecLZ4:
		return readLimited(lz4.NewReader(bytes.NewReader(b)), "lz4")
	case codecZstd:
		r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("record batch: zstd: %w", err)
		}
		defer r.Close()
		return readLimited(r, "zstd")
	}
	return nil, fmt.Errorf("record batch: unknown codec %d", codec)
}

func readLimited(r io.Reader, codec string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRecords+1))
	if err != nil {
		return nil, fmt.Errorf("record batch: %s: %w", codec, err)
	}
	if len(b) > maxRecords {
		return nil, errTooLarge
	}
	return b, nil
}

// xerial is how the Java client frames snappy: a header of 16 bytes, then blocks
// after their lengths.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

var errSnappy = errors.New("record batch: snappy: its blocks break off")

func unsnappy(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, xerial) {
		return unsnappyBlock(nil, b)
	}
	if len(b) < 16 {
		return nil, errSnappy
	}
	var out []byte
	for b = b[16:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, errSnappy
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return nil, errSnappy
		}
		var err error
		if out, err = unsnappyBlock(out, b[:n]); err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return out, nil
}

func unsnappyBlock(out, b []byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil {
		return nil, fmt.Errorf("record batch: snappy: %w", err)
	}
	if n > maxRecords-len(out) {
		return nil, errTooLarge
	}
	// Snappy makes at most 64 bytes of 3; a longer claim is no block.
	if n > 32*len(b)+64 {
		return nil, errSnappy
	}
	block, err := s2.Decode(nil, b)
	if err != nil {
		return nil, fmt.Errorf("record batch: snappy: %w", err)
	}
	if out == nil {
		return block, nil
	}
	return append(out, block...), nil
}

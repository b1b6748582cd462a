// Package wire is the binary encoding that a stage's tasks store and send each
// other. It owns the few forms such an encoding is made of: numbers as varints
// (for these encoding/binary appends), texts after their length, flags, fixed
// bytes; and their bounded reading. It must not know what is encoded: the
// layouts, their versions and their limits are the stages'.
//
// The forms are stored, and never change.
package wire

import "encoding/binary"

// AppendText appends the length of s in bytes, then s. Decoder.Text reads it.
func AppendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// AppendFlag appends a byte, 1 for true and 0 for false. Decoder.Flag reads it.
func AppendFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendNullable appends bytes that may be nil, which is not the same as empty:
// a flag, then the bytes as a text unless they are nil. Decoder.Nullable reads it.
func AppendNullable(b, s []byte) []byte {
	if b = AppendFlag(b, s != nil); s == nil {
		return b
	}
	return AppendText(b, s)
}

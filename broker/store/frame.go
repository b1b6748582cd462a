package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
)

// The journal's format. All numbers are little-endian.
//
// A file begins with a header:
//
//	 0  magic, 8 bytes
//	 8  number of the file      uint64
//	16  generation, random      uint64
//	24  mark where it begins    uint64
//	32  predecessor's number    uint64, 0 for the first file
//	40  where that ends         uint64
//	48  checksum of 0 to 48     uint32
//	52  0 up to fileHeaderSize
//
// Frames follow, each behind the other:
//
//	 0  magic                   uint32
//	 4  length of the payload   uint32
//	 8  of which operations     uint32
//	12  mark known as synced    uint64
//	20  generation of the file  uint64
//	28  checksum of the payload uint32
//	32  checksum of 0 to 32, with the file's number and the frame's position
//	36  payload: operations, then the bytes of the batches
const (
	fileMagic       = "cmptjrn1"
	fileHeaderSize  = 64
	frameMagic      = 0x6d726643
	frameHeaderSize = 36
	maxPayload      = 1 << 30
)

// Mark is a position in the journal's history: bytes of frames ever written. It
// only grows, over all files and starts.
type Mark uint64

// place is where a batch's bytes are.
type place struct {
	file   uint64
	offset int64
}

type fileHeader struct {
	number     uint64
	generation uint64
	start      Mark
	prev       uint64
	prevEnd    int64
}

func (h fileHeader) encode() []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint64(b[8:], h.number)
	binary.LittleEndian.PutUint64(b[16:], h.generation)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.start))
	binary.LittleEndian.PutUint64(b[32:], h.prev)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.prevEnd))
	binary.LittleEndian.PutUint32(b[48:], crc32.Checksum(b[:48], castagnoli))
	return b
}

var errHeader = errors.New("header of the file is invalid")

func decodeFileHeader(b []byte) (fileHeader, error) {
	if len(b) < fileHeaderSize || string(b[:8]) != fileMagic ||
		binary.LittleEndian.Uint32(b[48:]) != crc32.Checksum(b[:48], castagnoli) {
		return fileHeader{}, errHeader
	}
	h := fileHeader{
		number:     binary.LittleEndian.Uint64(b[8:]),
		generation: binary.LittleEndian.Uint64(b[16:]),
		start:      Mark(binary.LittleEndian.Uint64(b[24:])),
		prev:       binary.LittleEndian.Uint64(b[32:]),
	}
	end := binary.LittleEndian.Uint64(b[40:])
	if h.number == 0 || h.prev >= h.number || end > math.MaxInt64 {
		return fileHeader{}, errHeader
	}
	h.prevEnd = int64(end)
	return h, nil
}

type frameHeader struct {
	length     int
	opsLength  int
	synced     Mark
	generation uint64
	payloadCRC uint32
}

// size is how far the next frame is.
func (h frameHeader) size() int64 { return frameHeaderSize + int64(h.length) }

func headerCRC(b []byte, at place) uint32 {
	var where [16]byte
	binary.LittleEndian.PutUint64(where[:], at.file)
	binary.LittleEndian.PutUint64(where[8:], uint64(at.offset))
	return crc32.Update(crc32.Checksum(where[:], castagnoli), castagnoli, b[:32])
}

func (h frameHeader) encode(b []byte, at place) {
	binary.LittleEndian.PutUint32(b, frameMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(h.length))
	binary.LittleEndian.PutUint32(b[8:], uint32(h.opsLength))
	binary.LittleEndian.PutUint64(b[12:], uint64(h.synced))
	binary.LittleEndian.PutUint64(b[20:], h.generation)
	binary.LittleEndian.PutUint32(b[28:], h.payloadCRC)
	binary.LittleEndian.PutUint32(b[32:], headerCRC(b, at))
}

var errFrame = errors.New("frame is invalid")

func decodeFrameHeader(b []byte, at place) (frameHeader, error) {
	if len(b) < frameHeaderSize || binary.LittleEndian.Uint32(b) != frameMagic ||
		binary.LittleEndian.Uint32(b[32:]) != headerCRC(b, at) {
		return frameHeader{}, errFrame
	}
	h := frameHeader{
		length:     int(binary.LittleEndian.Uint32(b[4:])),
		opsLength:  int(binary.LittleEndian.Uint32(b[8:])),
		synced:     Mark(binary.LittleEndian.Uint64(b[12:])),
		generation: binary.LittleEndian.Uint64(b[20:]),
		payloadCRC: binary.LittleEndian.Uint32(b[28:]),
	}
	if h.length > maxPayload || h.opsLength > h.length {
		return frameHeader{}, errFrame
	}
	return h, nil
}

const fileSuffix = ".journal"

func fileName(number uint64) string { return fmt.Sprintf("%016d%s", number, fileSuffix) }

func parseFileName(name string) (number uint64, ok bool) {
	s, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n > 0
}

package core

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

// Aborted transactions stay in the log; who reads committed records is told of
// them and leaves their records out. The index has one entry for each, under
// the offset of its marker.

// Ranger reads keys in order.
type Ranger interface {
	// ScanRange calls fn for each key from from on and below to, in order, until
	// it returns an error. Key and value are fn's only during the call.
	ScanRange(from, to []byte, fn func(key, value []byte) error) error
}

// AbortedTransaction is a transaction whose records are to be left out.
type AbortedTransaction struct {
	Producer int64
	First    int64 // offset of its first record in the partition
	Last     int64 // offset of its marker
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// Aborted returns the aborted transactions that have records or their marker
// from from on and records below below. It is safe for concurrent use.
func Aborted(r Ranger, p store.Partition, from, below int64) ([]AbortedTransaction, error) {
	var all []AbortedTransaction
	err := r.ScanRange(abortedKey(p, from, 0), partitionKey(keyAborted, p+1), func(key, value []byte) error {
		if len(key) != 1+8+8+8 {
			return fmt.Errorf("an aborted transaction: a key of %d bytes", len(key))
		}
		first, stable, err := parseAborted(value)
		if err != nil {
			return known("aborted transaction", key[1:], err)
		}
		if first < below {
			all = append(all, AbortedTransaction{
				Producer: int64(binary.BigEndian.Uint64(key[17:])), First: first, Last: int64(binary.BigEndian.Uint64(key[9:])),
			})
		}
		// Those that end later begin there or after it.
		if stable >= below {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return all, err
}

// abortedKey is the key of the transaction of a producer whose marker stands at
// last.
func abortedKey(p store.Partition, last, producer int64) []byte {
	b := binary.BigEndian.AppendUint64(partitionKey(keyAborted, p), uint64(last))
	return binary.BigEndian.AppendUint64(b, uint64(producer))
}

// appendAborted encodes an entry: the first offset, and the partition's last
// stable offset when the marker was written.
func appendAborted(b []byte, first, stable int64) []byte {
	b = append(b, stateVersion)
	b = binary.AppendUvarint(b, uint64(first))
	return binary.AppendUvarint(b, uint64(stable))
}

func parseAborted(value []byte) (first, stable int64, err error) {
	d := wire.Decode("an aborted transaction", value).Version(stateVersion)
	first, stable = d.Uvarint(1<<62), d.Uvarint(1<<62)
	return first, stable, d.End()
}

// forgetAborted takes the entries away that end below the partition's start.
func (m *Machine) forgetAborted(p *partition) {
	if p.lastAborted >= 0 {
		m.turn.Commit.DeleteRange(partitionKey(keyAborted, p.id), abortedKey(p.id, p.start, 0))
	}
}

package core

import (
	"encoding/binary"

	"github.com/comptoir/comptoir/broker/store"
)

// The first byte of a key says what it is. They are stored, and never change.
const (
	keyIdentity    = 'i' // one entry
	keyTopic       = 't' // name
	keyPartition   = 'p' // partition: log start and leader epochs
	keyCleaned     = 'c' // partition: how far it is compacted
	keyProducer    = 's' // partition, producer id: sequences and open transaction
	keyAborted     = 'a' // partition, last offset, producer id: first offset
	keyTransaction = 'x' // transactional id
	keyGroup       = 'g' // group: its generation; group, partition: its offset
)

// stateVersion is the first byte of every value.
const stateVersion = 1

func partitionKey(kind byte, p store.Partition) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(p))
}

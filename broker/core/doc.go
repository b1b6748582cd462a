// Package core is the broker's mind: topics, partitions, producers,
// transactions and groups, as one state machine without I/O. It owns every
// decision that the protocol asks of a broker. It must not know connections or
// files: requests come to it decoded, one at a time and with the time of day,
// and what it decides goes into one store.Commit, whole or not at all.
//
// A Machine belongs to one goroutine, the Runner's. Readers never see its
// memory: what they may see is published to a View, once it is durable.
package core

// Package streams is an exactly-once stream library on Apache Kafka.
//
// A Builder collects a typed topology: sources, operators, state stores and
// outputs. An App runs it as a member of a consumer group: it consumes, changes
// state, writes the state's changelog and produces its outputs in one Kafka
// transaction, so that each input record has its effects exactly once, whatever
// crashes.
//
// A task is a partition number: task 2 owns partition 2 of every input topic of
// the topology, partition 2 of its one changelog, and the state that belongs to
// it. The group's balancer hands out whole tasks. A task is single-threaded: no
// operator and no store needs a lock.
//
// The package knows nothing of commerce. It never writes outside the Kafka
// transaction, except for the local state, which is applied after the
// transaction's outcome is known and is rebuilt from the changelog when lost.
package streams

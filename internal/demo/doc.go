// Package demo owns what `comptoir up --demo` shows: the demo catalogue, a
// script of 20 orders with the ending that each must have, and a run of it
// that sends them as any Kafka producer would, or half of them as any client of
// the order API would, watches the public topics as any consumer would, and
// tells what happened.
//
// It must not decide anything about orders, reach into the stages or their
// stores, or know how the node is wired: what it says it has read from topics,
// group offsets and the archive.
package demo

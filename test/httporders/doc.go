// Package httporders places the orders of a workload by HTTP as a careful
// application does, over many connections and with an Idempotency-Key each, and
// says afterwards whether what was answered and what stands in Kafka agree. It
// owns a second reading of the contract of POST /commandes; it must import
// nothing of what it tests.
package httporders

// Package bench measures the broker beside franz-go's kfake, in the same run and
// by the same client, so that ratios hold on any machine: throughput, latency
// beside that of an fsync, transactions, opening after a kill, memory. It owns no
// thresholds; docs/performance.md says what was reached.
//
//	COMPTOIR_BROKER_BENCH  names of measures, with commas, or all; without it they are left out
package bench

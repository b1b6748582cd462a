// Package connect is a Kafka Connect compatible runtime: it keeps connector
// configurations in a compacted topic in Apache Kafka's own format, runs sink
// connectors as consumer groups, and answers Kafka Connect's REST API.
//
// It owns configurations, tasks, offsets' commits, error handling (retries,
// dead-letter topic) and status. It knows no database and no commerce: what a
// connector does stands in a [Plugin], given explicitly to [New]. A worker's
// status is that of its own tasks: several workers share a connector's
// partitions through its consumer group, and each answers for its share.
//
// # Writing a connector
//
// Declare a [Plugin] with its options, and return a [Sink] from NewSink. A
// sink that stores its own offsets beside its data (for exactly-once) also
// implements [PartitionOwner].
package connect

// Package clients runs the clients that others wrote against a broker, by the
// script run beside it, which may also be pointed at any address: franz-go with
// its own suite, Apache Kafka's tools and Kafka Streams, sarama, segmentio's
// kafka-go, librdkafka by kcat and by confluent-kafka, kafkajs. The Go ones have
// a module of their own in folder go, so that they stay out of the project's.
//
//	COMPTOIR_CLIENTS         names of clients, with commas, or all; without it they are left out
//	COMPTOIR_CLIENTS_ENGINE  comptoir (default) or kfake
package clients

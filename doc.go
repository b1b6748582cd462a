// Package comptoir is the root of Comptoir, an event-driven commerce backbone
// on the Kafka protocol. The program is cmd/comptoir; the pipeline's picture is
// commerce/flow.go. This package owns no code: it holds the test that keeps the
// packages' imports going in one direction.
package comptoir

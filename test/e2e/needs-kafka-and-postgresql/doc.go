// Package realservers runs the real binary against a real Apache Kafka and a
// real PostgreSQL, which each test starts for itself, stops and kills. Where
// they are missing go test shows the package as "[no tests to run]"; `make e2e`
// brings them. The folder's name tells readers of that line what was left out.
package realservers

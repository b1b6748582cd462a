// Package e2e runs the real binary as its users do and checks what it leaves
// behind from outside. Here stands what needs nothing but Go; what needs a real
// Apache Kafka or PostgreSQL stands in the package below, whose name says so in
// the output of go test.
package e2e

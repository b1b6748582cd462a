//go:build !linux

package broker

// bootID differs after every start of the machine; empty is unknown: each stop
// that was not clean then counts as a loss of power.
func bootID() string { return "" }

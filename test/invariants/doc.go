// Package invariants checks a whole run of the pipeline from outside: it reads
// every public topic, the archive table and the groups' offsets, and says which
// of the public contract's promises do not hold. It must import nothing of what
// it checks; it shares no decision code with the stages or with their auditor.
//
// Load reads a History from a cluster, History.Check judges it without any I/O,
// and Settle waits until there is nothing more to come.
package invariants

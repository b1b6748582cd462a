// Package orders makes orders of every kind for whole runs of the pipeline, and
// says independently of it how each must end. It owns a second reading of the
// public contract: Judge and the expectations of Generate. It must import
// nothing of what it tests; plainness comes before speed.
package orders

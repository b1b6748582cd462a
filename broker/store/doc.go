// Package store is the broker's directory.
package store

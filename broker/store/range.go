package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// ScanRange calls fn for every key from <= key < to, in order, until fn returns an
// error. Both slices are valid during the call only.
func (s *Store) ScanRange(from, to []byte, fn func(key, value []byte) error) error {
	it, err := s.index.db.NewIter(&pebble.IterOptions{
		LowerBound: append([]byte{kindKey}, from...), UpperBound: append([]byte{kindKey}, to...),
	})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = fn(it.Key()[1:], v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

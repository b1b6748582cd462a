package track

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// cause is one of the things that tracking depends on.
type cause uint8

const (
	causeMember   cause = iota // membership in the group
	causeKafka                 // reading from Kafka
	causeDatabase              // the order database
	causes
)

var causeNames = [causes]string{"group " + Group, "kafka", "order database"}

// health is what keeps a Tracker from its work, by cause. It logs changes, not
// repetitions.
type health struct {
	log *slog.Logger

	mu   sync.Mutex
	errs [causes]error
}

func (h *health) set(c cause, err error) {
	h.mu.Lock()
	before := h.errs[c]
	h.errs[c] = err
	h.mu.Unlock()
	switch {
	case err == nil && before != nil && !errors.Is(before, errNotMember):
		h.log.Info("tracking goes on", "after", causeNames[c])
	case err != nil && before == nil && !errors.Is(err, errNotMember):
		h.log.Warn("tracking waits", "for", causeNames[c], "error", err)
	}
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	// The database first: it may be what keeps us from becoming a member.
	for c := causes; c > 0; c-- {
		if err := h.errs[c-1]; err != nil {
			return fmt.Errorf("tracking waits for %s: %w", causeNames[c-1], err)
		}
	}
	return nil
}

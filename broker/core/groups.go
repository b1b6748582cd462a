package core

import "github.com/twmb/franz-go/pkg/kerr"

// groups are the consumer groups and their offsets.
type groups struct{}

func (m *Machine) loadGroups(s State) error { return nil }

// checkTxnOffsets says why a member may not commit a group's offsets.
func (m *Machine) checkTxnOffsets(group string, generation int32, member string, instance *string) *kerr.Error {
	return nil
}

// applyOffsets commits what a transaction held.
func (m *Machine) applyOffsets(group string, offsets []txnOffset) {}

package core

// groups are the consumer groups and their offsets.
type groups struct{}

func (m *Machine) loadGroups(s State) error { return nil }

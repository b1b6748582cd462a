package core

// forgetTopic: the groups' owner replaces it.
func (m *Machine) forgetTopic(t *topic) {}

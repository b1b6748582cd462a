package core

// forgetTopic: the groups' owner replaces it.
func (m *Machine) forgetTopic(t *topic) {}

// forgetProducers and forgetAborted: the producers' owner replaces them.
func (m *Machine) forgetProducers(p *partition) {}
func (m *Machine) forgetAborted(p *partition)   {}

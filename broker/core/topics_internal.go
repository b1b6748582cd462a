package core

// The topics in which Apache Kafka keeps groups and transactions. This broker
// keeps them elsewhere; but the topics are there as they are there, from the
// first time that somebody asks for a coordinator: empty, marked as internal,
// and nobody can write to them or delete them. So tools and clients that know of
// them find what they look for, and nobody else can have the names.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// internal says whether a topic of this name is the broker's own.
func internal(name string) bool { return name == offsetsTopic || name == transactionsTopic }

// createInternal creates a topic of the broker's own if it is missing and can be
// created: nothing depends on it.
func (m *Machine) createInternal(name string) {
	if m.topics.byName[name] != nil || m.readOnly != nil || m.room(1) != nil {
		return
	}
	m.create(name, 1, map[string]string{optCleanup: "compact"})
}

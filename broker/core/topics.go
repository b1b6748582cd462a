package core

import (
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/broker/store"
	"github.com/comptoir/comptoir/internal/wire"
)

const (
	// maxPartitions bounds the partitions of all topics, and so the memory that
	// they take: about a kilobyte each.
	maxPartitions = 20_000
	maxTopicName  = 249
)

// topics are all topics. Names are unique; so are ids, for ever.
type topics struct {
	byName map[string]*topic
	byID   map[[16]byte]*topic
	// byMetric finds a topic by its name with _ for each dot: Kafka's metrics
	// cannot tell two such names apart, and so only one of them may be.
	byMetric   map[string]*topic
	partitions int // of all topics
}

func (ts *topics) put(t *topic) {
	ts.byName[t.name], ts.byID[t.id], ts.byMetric[metricName(t.name)] = t, t, t
}

// sorted returns all topics by name.
func (ts *topics) sorted() []*topic {
	all := make([]*topic, 0, len(ts.byName))
	for _, name := range slices.Sorted(maps.Keys(ts.byName)) {
		all = append(all, ts.byName[name])
	}
	return all
}

type topic struct {
	name       string
	id         [16]byte
	config     map[string]string // what was set; the rest has defaults
	settings   settings          // what that comes to
	partitions []*partition
}

func metricName(name string) string { return strings.ReplaceAll(name, ".", "_") }

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// checkTopicName says why a name is refused.
func checkTopicName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("topic name %q is not allowed", name)
	case len(name) > maxTopicName:
		return fmt.Errorf("topic name has %d characters, the limit is %d", len(name), maxTopicName)
	case !topicName.MatchString(name):
		return fmt.Errorf("topic name %q: only letters, digits, '.', '_' and '-' are allowed", name)
	}
	return nil
}

func (m *Machine) loadTopics(s State) error {
	m.topics = topics{byName: map[string]*topic{}, byID: map[[16]byte]*topic{}, byMetric: map[string]*topic{}}
	err := s.Scan([]byte{keyTopic}, func(key, value []byte) error {
		t := &topic{name: string(key[1:]), config: map[string]string{}}
		d := wire.Decode("a topic", value).Version(stateVersion)
		d.Fixed(t.id[:])
		for range d.Count(1000, 2) {
			k := d.Text(1 << 10)
			t.config[k] = d.Text(1 << 16)
		}
		for i := range d.Count(maxPartitions, 1) {
			t.partitions = append(t.partitions, &partition{
				id: store.Partition(d.Uvarint(1 << 62)), topic: t, index: int32(i), producers: map[int64]*sequences{},
			})
		}
		t.settings = m.settingsOf(t.config)
		m.topics.partitions += len(t.partitions)
		m.topics.put(t)
		return known("topic", key[1:], d.End())
	})
	if err != nil {
		return err
	}
	for _, t := range m.topics.byName {
		for _, p := range t.partitions {
			p.log = m.view.log(t.name, p)
			if err := m.loadPartition(s, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Machine) saveTopic(t *topic) {
	b := append([]byte{stateVersion}, t.id[:]...)
	b = binary.AppendUvarint(b, uint64(len(t.config)))
	for _, k := range slices.Sorted(maps.Keys(t.config)) {
		b = wire.AppendText(wire.AppendText(b, k), t.config[k])
	}
	b = binary.AppendUvarint(b, uint64(len(t.partitions)))
	for _, p := range t.partitions {
		b = binary.AppendUvarint(b, uint64(p.id))
	}
	m.turn.Commit.Set(append([]byte{keyTopic}, t.name...), b)
}

// create makes a topic with n partitions. The caller has checked all of it.
func (m *Machine) create(name string, n int32, config map[string]string) *topic {
	t := &topic{name: name, id: newID(), config: config, settings: m.settingsOf(config)}
	m.topics.put(t)
	m.grow(t, n)
	m.log.Info("topic created", "topic", name, "partitions", n)
	return t
}

// grow gives a topic n partitions.
func (m *Machine) grow(t *topic, n int32) {
	for i := int32(len(t.partitions)); i < n; i++ {
		id := m.newPartition()
		p := &partition{id: id, topic: t, index: i, producers: map[int64]*sequences{}, lastAborted: -1, log: &Log{ID: id}}
		t.partitions = append(t.partitions, p)
		m.topics.partitions++
		m.changed(p)
	}
	m.saveTopic(t)
	m.showTopic(t)
}

// configure gives a topic another configuration, which has been checked.
func (m *Machine) configure(t *topic, config map[string]string) {
	t.config, t.settings = config, m.settingsOf(config)
	m.saveTopic(t)
	m.showTopic(t)
	m.log.Info("topic configured", "topic", t.name)
}

// remove deletes a topic with its records, and with what producers, transactions
// and groups had there.
func (m *Machine) remove(t *topic) {
	m.forgetTopic(t)
	for _, p := range t.partitions {
		m.forgetProducers(p)
		c := &m.turn.Commit
		c.Drop(p.id)
		c.Delete(partitionKey(keyPartition, p.id))
		c.Delete(partitionKey(keyCleaned, p.id))
		delete(m.compacted, p.id)
	}
	delete(m.topics.byName, t.name)
	delete(m.topics.byID, t.id)
	delete(m.topics.byMetric, metricName(t.name))
	m.topics.partitions -= len(t.partitions)
	m.turn.Commit.Delete(append([]byte{keyTopic}, t.name...))
	m.turn.Publish = append(m.turn.Publish, func() { m.view.remove(t.name) })
	m.log.Info("topic deleted", "topic", t.name)
}

// showTopic lets readers see the topic, with this turn.
func (m *Machine) showTopic(t *topic) {
	set := &t.settings
	v := &ViewTopic{Name: t.name, ID: t.id, Compact: set.compact, Before: set.timestampBefore, After: set.timestampAfter, AppendTime: set.appendTime}
	for _, p := range t.partitions {
		v.Partitions = append(v.Partitions, p.log)
	}
	m.turn.Publish = append(m.turn.Publish, func() { m.view.put(v) })
}

// partition finds a partition by topic name and number.
func (m *Machine) partition(name string, index int32) (*partition, *kerr.Error) {
	t := m.topics.byName[name]
	if t == nil || index < 0 || int(index) >= len(t.partitions) {
		return nil, kerr.UnknownTopicOrPartition
	}
	return t.partitions[index], nil
}

// partitionByID finds a partition by topic id and number.
func (m *Machine) partitionByID(id [16]byte, index int32) (*partition, *kerr.Error) {
	t := m.topics.byID[id]
	if t == nil {
		return nil, kerr.UnknownTopicID
	}
	return m.partition(t.name, index)
}

package core

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusal is why a part of a request is not done.
type refusal struct {
	err *kerr.Error
	why string
}

func refused(err *kerr.Error, format string, args ...any) *refusal {
	return &refusal{err: err, why: fmt.Sprintf(format, args...)}
}

// createTopics creates topics as asked, or says what is wrong.
func (m *Machine) createTopics(r *Request, req *kmsg.CreateTopicsRequest) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	for _, t := range req.Topics {
		switch n := times[t.Topic]; {
		case n == 0: // answered
		case n > 1:
			resp.Topics = append(resp.Topics, notCreated(t.Topic, refused(kerr.InvalidRequest, "topic %q stands in the request %d times", t.Topic, n)))
		default:
			resp.Topics = append(resp.Topics, m.createTopic(req, t))
		}
		times[t.Topic] = 0
	}
	m.durable(r, resp)
}

func notCreated(name string, why *refusal) kmsg.CreateTopicsResponseTopic {
	resp := kmsg.NewCreateTopicsResponseTopic()
	resp.Topic, resp.NumPartitions, resp.ReplicationFactor = name, -1, -1
	resp.ErrorCode, resp.ErrorMessage = why.err.Code, text(why.why)
	resp.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	return resp
}

func (m *Machine) createTopic(req *kmsg.CreateTopicsRequest, t kmsg.CreateTopicsRequestTopic) kmsg.CreateTopicsResponseTopic {
	n, config, why := m.newTopic(t)
	if why != nil {
		return notCreated(t.Topic, why)
	}
	resp := kmsg.NewCreateTopicsResponseTopic()
	resp.Topic, resp.NumPartitions, resp.ReplicationFactor = t.Topic, n, 1
	resp.Configs = m.createdConfig(config)
	if req.ValidateOnly {
		resp.TopicID = newID() // one that it might get
	} else {
		resp.TopicID = m.create(t.Topic, n, config).id
	}
	return resp
}

// newTopic checks what is asked of a topic that is to be created.
func (m *Machine) newTopic(t kmsg.CreateTopicsRequestTopic) (n int32, config map[string]string, why *refusal) {
	if m.topics.byName[t.Topic] != nil {
		return 0, nil, refused(kerr.TopicAlreadyExists, "topic %q exists already", t.Topic)
	}
	if err := checkTopicName(t.Topic); err != nil {
		return 0, nil, refused(kerr.InvalidTopicException, "%s", err)
	}
	if internal(t.Topic) {
		return 0, nil, refused(kerr.InvalidTopicException, "topic %q is the broker's own", t.Topic)
	}
	if other := m.topics.byMetric[metricName(t.Topic)]; other != nil {
		return 0, nil, refused(kerr.InvalidTopicException, "topic %q differs from topic %q by dots and underscores alone", t.Topic, other.name)
	}
	if config, why = m.newConfig(t.Configs); why != nil {
		return 0, nil, why
	}
	if n, why = m.partitionsOf(t); why != nil {
		return 0, nil, why
	}
	return n, config, m.room(n)
}

func (m *Machine) newConfig(asked []kmsg.CreateTopicsRequestTopicConfig) (map[string]string, *refusal) {
	config := map[string]string{}
	for _, c := range asked {
		if _, ok := topicOption(c.Name); !ok {
			return nil, refused(kerr.InvalidConfig, "topics have no option %q", c.Name)
		}
		if c.Value == nil {
			return nil, refused(kerr.InvalidConfig, "option %s has no value", c.Name)
		}
		config[c.Name] = *c.Value
	}
	if err := m.checkConfig(config); err != nil {
		return nil, refused(kerr.InvalidConfig, "%s", err)
	}
	return config, nil
}

// partitionsOf returns how many partitions a new topic gets.
func (m *Machine) partitionsOf(t kmsg.CreateTopicsRequestTopic) (int32, *refusal) {
	if len(t.ReplicaAssignment) > 0 {
		return assigned(t)
	}
	switch {
	case t.ReplicationFactor != -1 && t.ReplicationFactor < 1:
		return 0, refused(kerr.InvalidReplicationFactor, "the replication factor is 1 at least, or -1 for the default")
	case t.ReplicationFactor > 1:
		return 0, refused(kerr.InvalidReplicationFactor, "%d replicas are asked for: there is one broker", t.ReplicationFactor)
	case t.NumPartitions == -1:
		return m.cfg.DefaultPartitions, nil
	case t.NumPartitions < 1:
		return 0, refused(kerr.InvalidPartitions, "a topic has one partition at least, or -1 for the default")
	}
	return t.NumPartitions, nil
}

// assigned checks the places of a new topic's partitions, of which there is one.
func assigned(t kmsg.CreateTopicsRequestTopic) (int32, *refusal) {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return 0, refused(kerr.InvalidRequest, "with replicas assigned by hand, the numbers of partitions and replicas are -1")
	}
	seen := map[int32]bool{}
	for _, a := range t.ReplicaAssignment {
		if seen[a.Partition] {
			return 0, refused(kerr.InvalidReplicaAssignment, "partition %d is assigned twice", a.Partition)
		}
		seen[a.Partition] = true
		if why := onlyHere(a.Replicas); why != nil {
			return 0, why
		}
	}
	n := int32(len(t.ReplicaAssignment))
	for i := range n {
		if !seen[i] {
			return 0, refused(kerr.InvalidReplicaAssignment, "partitions are numbered from 0: %d of %d is missing", i, n)
		}
	}
	return n, nil
}

// onlyHere says why replicas cannot be where they are asked to be.
func onlyHere(replicas []int32) *refusal {
	if len(replicas) == 0 {
		return refused(kerr.InvalidReplicaAssignment, "a partition has one replica")
	}
	for i, id := range replicas {
		switch {
		case id != nodeID:
			return refused(kerr.InvalidReplicaAssignment, "there is no broker %d", id)
		case i > 0:
			return refused(kerr.InvalidReplicaAssignment, "broker %d is named twice", id)
		}
	}
	return nil
}

// room says why there is none for n more partitions.
func (m *Machine) room(n int32) *refusal {
	if left := maxPartitions - m.topics.partitions; int64(n) > int64(left) {
		return refused(kerr.PolicyViolation, "the broker has %d partitions at most, and so %d more", maxPartitions, max(left, 0))
	}
	return nil
}

// deleteTopics deletes topics with all they hold.
func (m *Machine) deleteTopics(r *Request, req *kmsg.DeleteTopicsRequest) {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	asked := namedTopics(req)
	// Which topics are meant is decided before the first is deleted: one that is
	// named twice, by name and id perhaps, is not deleted.
	times := map[*topic]int{}
	for _, a := range asked {
		if t, why := m.toDelete(a); why == nil {
			times[t]++
		}
	}
	answered := map[string]bool{}
	for _, a := range asked {
		if a.Topic != nil {
			if answered[*a.Topic] {
				continue
			}
			answered[*a.Topic] = true
		}
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = a.Topic, a.TopicID
		t, why := m.toDelete(a)
		switch {
		case why != nil:
		case times[t] > 1:
			why = refused(kerr.InvalidRequest, "topic %q stands in the request %d times", t.name, times[t])
		case internal(t.name):
			why = refused(kerr.PolicyViolation, "topic %q is the broker's own", t.name)
		}
		if why == nil {
			rt.Topic, rt.TopicID = &t.name, t.id
			m.remove(t)
		} else {
			rt.ErrorCode, rt.ErrorMessage = why.err.Code, text(why.why)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

// namedTopics returns what a request names, in the form of its newer versions.
func namedTopics(req *kmsg.DeleteTopicsRequest) []kmsg.DeleteTopicsRequestTopic {
	if req.Version >= 6 {
		return req.Topics
	}
	var all []kmsg.DeleteTopicsRequestTopic
	for i := range req.TopicNames {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &req.TopicNames[i]
		all = append(all, t)
	}
	return all
}

func (m *Machine) toDelete(a kmsg.DeleteTopicsRequestTopic) (*topic, *refusal) {
	switch {
	case a.Topic != nil && a.TopicID != [16]byte{}:
		return nil, refused(kerr.InvalidRequest, "a topic is deleted by its name or by its id, not by both")
	case a.Topic != nil:
		if t := m.topics.byName[*a.Topic]; t != nil {
			return t, nil
		}
		return nil, refused(kerr.UnknownTopicOrPartition, "there is no topic %q", *a.Topic)
	case a.TopicID != [16]byte{}:
		if t := m.topics.byID[a.TopicID]; t != nil {
			return t, nil
		}
		return nil, refused(kerr.UnknownTopicID, "no topic has this id")
	}
	return nil, refused(kerr.InvalidRequest, "neither a name nor an id is given")
}

// createPartitions adds partitions to topics. Records stay where they are.
func (m *Machine) createPartitions(r *Request, req *kmsg.CreatePartitionsRequest) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	for _, t := range req.Topics {
		if times[t.Topic] == 0 {
			continue // answered
		}
		why := m.canGrow(t)
		if n := times[t.Topic]; n > 1 {
			why = refused(kerr.InvalidRequest, "topic %q stands in the request %d times", t.Topic, n)
		}
		times[t.Topic] = 0
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		switch {
		case why != nil:
			rt.ErrorCode, rt.ErrorMessage = why.err.Code, text(why.why)
		case !req.ValidateOnly:
			m.grow(m.topics.byName[t.Topic], t.Count)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	m.durable(r, resp)
}

func (m *Machine) canGrow(asked kmsg.CreatePartitionsRequestTopic) *refusal {
	t := m.topics.byName[asked.Topic]
	if t == nil {
		return refused(kerr.UnknownTopicOrPartition, "there is no topic %q", asked.Topic)
	}
	has := int32(len(t.partitions))
	if asked.Count <= has {
		return refused(kerr.InvalidPartitions, "topic %q has %d partitions; %d are not more", t.name, has, asked.Count)
	}
	if more := asked.Count - has; asked.Assignment != nil && len(asked.Assignment) != int(more) {
		return refused(kerr.InvalidReplicaAssignment, "%d partitions are added, %d are assigned", more, len(asked.Assignment))
	}
	for _, a := range asked.Assignment {
		if why := onlyHere(a.Replicas); why != nil {
			return why
		}
	}
	return m.room(asked.Count - has)
}

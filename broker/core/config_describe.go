package core

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shown is an option as it is described, of a topic or of the broker.
type shown struct {
	name     string
	value    *string
	readOnly bool
	source   kmsg.ConfigSource
	kind     kmsg.ConfigType
	doc      string
	synonyms []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym
}

// createdConfig describes the configuration of a topic that is created.
func (m *Machine) createdConfig(config map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	var all []kmsg.CreateTopicsResponseTopicConfig
	for _, s := range m.topicConfig(config) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = s.name, s.value, int8(s.source)
		all = append(all, c)
	}
	return all
}

// topicConfig describes all options of a topic that has config.
func (m *Machine) topicConfig(config map[string]string) []shown {
	var all []shown
	for _, o := range topicOptions {
		if o.hidden {
			continue
		}
		def := m.defaultOf(o)
		s := shown{name: o.name, value: &def, source: kmsg.ConfigSourceDefaultConfig, kind: o.kind, doc: o.doc}
		if v, ok := config[o.name]; ok {
			s.value, s.source = &v, kmsg.ConfigSourceDynamicTopicConfig
			s.synonyms = append(s.synonyms, synonym(o.name, v, s.source))
		}
		if o.broker != "" {
			s.synonyms = append(s.synonyms, synonym(o.broker, def, kmsg.ConfigSourceDefaultConfig))
		}
		all = append(all, s)
	}
	return all
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	s.Name, s.Value, s.Source = name, &value, source
	return s
}

// brokerConfig describes the broker: what it does under the names that Kafka
// has for it. None of it can be changed while it runs.
func (m *Machine) brokerConfig() []shown {
	var all []shown
	add := func(name, value string, kind kmsg.ConfigType, source kmsg.ConfigSource, doc string) {
		all = append(all, shown{
			name: name, value: &value, readOnly: true, source: source, kind: kind, doc: doc,
			synonyms: []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{synonym(name, value, source)},
		})
	}
	for _, o := range topicOptions {
		if o.broker != "" {
			add(o.broker, m.defaultOf(o), o.kind, kmsg.ConfigSourceDefaultConfig, "The default of the topic option "+o.name+".")
		}
	}
	number := func(name string, value int64, doc string) {
		add(name, strconv.FormatInt(value, 10), kmsg.ConfigTypeInt, kmsg.ConfigSourceStaticBrokerConfig, doc)
	}
	number("node.id", nodeID, "The broker's number.")
	number("broker.id", nodeID, "The broker's number.")
	number("num.partitions", int64(m.cfg.DefaultPartitions), "The partitions of a topic created without a number.")
	number("default.replication.factor", 1, "Always 1: there is one broker.")
	number("group.min.session.timeout.ms", m.cfg.MinSession.Milliseconds(), "The shortest session time-out of a group member, in milliseconds.")
	number("offsets.retention.minutes", 1<<31-1, "Offsets of groups do not expire.")
	add("auto.create.topics.enable", "true", kmsg.ConfigTypeBoolean, kmsg.ConfigSourceDefaultConfig, "Topics are created when a client asks for them.")
	add("delete.topic.enable", "true", kmsg.ConfigTypeBoolean, kmsg.ConfigSourceDefaultConfig, "Topics can be deleted.")
	add("log.cleaner.enable", "true", kmsg.ConfigTypeBoolean, kmsg.ConfigSourceDefaultConfig, "Compacted topics are compacted.")
	if m.cfg.Dir != "" {
		add("log.dirs", m.cfg.Dir, kmsg.ConfigTypeList, kmsg.ConfigSourceStaticBrokerConfig, "The broker's directory.")
	}
	return all
}

func (m *Machine) describeConfigs(r *Request, req *kmsg.DescribeConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	type named struct {
		kind kmsg.ConfigResourceType
		name string
	}
	for _, asked := range once(req.Resources, func(r kmsg.DescribeConfigsRequestResource) named { return named{r.ResourceType, r.ResourceName} }) {
		all, why := m.resourceConfig(asked.ResourceType, asked.ResourceName)
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = asked.ResourceType, asked.ResourceName
		if why != nil {
			rr.ErrorCode, rr.ErrorMessage = why.err.Code, text(why.why)
		}
		for _, s := range all {
			if asked.ConfigNames == nil || slices.Contains(asked.ConfigNames, s.name) {
				rr.Configs = append(rr.Configs, s.response(req))
			}
		}
		resp.Resources = append(resp.Resources, rr)
	}
	m.durable(r, resp)
}

func (s shown) response(req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.Source, c.ConfigType = s.name, s.value, s.readOnly, s.source, s.kind
	c.IsDefault = s.source == kmsg.ConfigSourceDefaultConfig
	if req.IncludeSynonyms {
		c.ConfigSynonyms = s.synonyms
	}
	if req.IncludeDocumentation {
		c.Documentation = text(s.doc)
	}
	return c
}

// resourceConfig describes what a request names.
func (m *Machine) resourceConfig(kind kmsg.ConfigResourceType, name string) ([]shown, *refusal) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		t, why := m.configured(name)
		if why != nil {
			return nil, why
		}
		return m.topicConfig(t.config), nil
	case kmsg.ConfigResourceTypeBroker:
		if name == "" { // what is set for all brokers: nothing can be
			return nil, nil
		}
		if why := brokerName(name); why != nil {
			return nil, why
		}
		return m.brokerConfig(), nil
	}
	return nil, refused(kerr.InvalidRequest, "only topics and the broker have a configuration here")
}

// configured finds the topic whose configuration is asked for.
func (m *Machine) configured(name string) (*topic, *refusal) {
	if t := m.topics.byName[name]; t != nil {
		return t, nil
	}
	if err := checkTopicName(name); err != nil {
		return nil, refused(kerr.InvalidTopicException, "%s", err)
	}
	return nil, refused(kerr.UnknownTopicOrPartition, "there is no topic %q", name)
}

// brokerName says why a name is not the broker's.
func brokerName(name string) *refusal {
	if name != strconv.Itoa(nodeID) {
		return refused(kerr.InvalidRequest, "there is no broker %q: the one there is has number %d", name, nodeID)
	}
	return nil
}

package differential

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var configCases = []kase{
	{kmsg.DescribeConfigs, "what was set", func(s *session) {
		t := s.topic("t", 1, "retention.ms", "12345", "cleanup.policy", "compact")
		s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, t, "retention.ms", "cleanup.policy", "max.message.bytes", "no.such.setting"))
	}},
	{kmsg.DescribeConfigs, "names of all settings of a topic", func(s *session) {
		if resp, ok := s.quiet(describeConfigs(kmsg.ConfigResourceTypeTopic, s.topic("t", 1))).(*kmsg.DescribeConfigsResponse); ok {
			for _, c := range resp.Resources[0].Configs {
				s.note("DescribeConfigs setting %s sensitive=%v readonly=%v type=%v", c.Name, c.IsSensitive, c.ReadOnly, c.ConfigType)
			}
		}
	}},
	{kmsg.DescribeConfigs, "defaults of a topic", func(s *session) {
		t := s.topic("t", 1)
		for _, n := range []string{"cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes", "message.timestamp.type", "min.cleanable.dirty.ratio",
			"min.compaction.lag.ms", "min.insync.replicas", "retention.bytes", "retention.ms", "segment.bytes", "segment.ms", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms"} {
			s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, t, n))
		}
	}},
	{kmsg.DescribeConfigs, "unknown resources", func(s *session) {
		s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, s.name("nowhere"), "retention.ms"))
		s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, "not a topic!", "retention.ms"))
		s.send(describeConfigs(kmsg.ConfigResourceTypeBroker, "77", "log.retention.ms"))
		s.send(describeConfigs(kmsg.ConfigResourceTypeBroker, "abc", "log.retention.ms"))
		s.send(describeConfigs(99, "x"))
	}},
	{kmsg.IncrementalAlterConfigs, "set, delete, append, subtract", func(s *session) {
		t := s.topic("t", 1)
		for _, c := range []struct {
			op              kmsg.IncrementalAlterConfigOp
			name, value     string
			retain, cleanup string // afterwards; empty for the default
		}{
			{0, "retention.ms", "777", "777", "delete"}, {1, "retention.ms", "", "", "delete"}, {2, "cleanup.policy", "compact", "", "delete,compact"},
			{3, "cleanup.policy", "delete", "", "compact"}, {2, "retention.ms", "1", "", "compact"}, {9, "retention.ms", "1", "", "compact"},
			{0, "retention.ms", "abc", "", "compact"}, {0, "no.such.setting", "1", "", "compact"}, {1, "no.such.setting", "", "", "compact"},
			{0, "cleanup.policy", "burn", "", "compact"}, {3, "cleanup.policy", "compact", "", ""},
		} {
			s.send(alterConfigs(t, c.op, c.name, c.value))
			s.becomes(t, "retention.ms", c.retain)
			s.becomes(t, "cleanup.policy", c.cleanup)
			s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, t, "retention.ms", "cleanup.policy"))
		}
	}},
	{kmsg.IncrementalAlterConfigs, "only validated", func(s *session) {
		t := s.topic("t", 1)
		req := alterConfigs(t, 0, "retention.ms", "777")
		req.ValidateOnly = true
		s.send(req)
		s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, t, "retention.ms"))
	}},
	{kmsg.IncrementalAlterConfigs, "an unknown topic", func(s *session) { s.send(alterConfigs(s.name("nowhere"), 0, "retention.ms", "1")) }},
	{kmsg.IncrementalAlterConfigs, "the same setting twice", func(s *session) {
		req := alterConfigs(s.topic("t", 1), 0, "retention.ms", "1")
		req.Resources[0].Configs = append(req.Resources[0].Configs, req.Resources[0].Configs[0])
		s.send(req)
	}},
	{kmsg.IncrementalAlterConfigs, "what is not a topic", func(s *session) {
		node := strconv.Itoa(int(s.node()))
		for _, c := range []struct {
			kind        kmsg.ConfigResourceType
			name        string
			option, set string
		}{{kmsg.ConfigResourceTypeBroker, node, "log.cleaner.threads", "1"}, {kmsg.ConfigResourceTypeBroker, "", "log.cleaner.threads", "1"}, {kmsg.ConfigResourceTypeBroker, "77", "log.cleaner.threads", "1"},
			{kmsg.ConfigResourceTypeBroker, node, "no.such.setting", "1"}, {kmsg.ConfigResourceTypeGroupConfig, s.name("g"), "consumer.session.timeout.ms", "50000"},
			{kmsg.ConfigResourceTypeClientMetrics, s.name("m"), "interval.ms", "1000"}, {99, "x", "y", "z"}} {
			req := alterConfigs(c.name, 0, c.option, c.set)
			req.ValidateOnly, req.Resources[0].ResourceType = true, c.kind
			s.send(req)
		}
	}},
	{kmsg.DescribeConfigs, "what is not a topic", func(s *session) {
		s.send(describeConfigs(kmsg.ConfigResourceTypeGroupConfig, s.name("g"), "consumer.session.timeout.ms"))
		s.send(describeConfigs(kmsg.ConfigResourceTypeClientMetrics, s.name("m"), "interval.ms"))
		s.send(describeConfigs(kmsg.ConfigResourceTypeBroker, "", "log.retention.ms"))
	}},
	{kmsg.DescribeConfigs, "of the broker", func(s *session) {
		node := strconv.Itoa(int(s.node()))
		for _, n := range []string{"auto.create.topics.enable", "delete.topic.enable", "message.max.bytes", "log.cleanup.policy", "log.message.timestamp.type", "compression.type", "no.such.setting"} {
			resp, ok := s.quiet(describeConfigs(kmsg.ConfigResourceTypeBroker, node, n)).(*kmsg.DescribeConfigsResponse)
			if ok {
				resp.Resources[0].ResourceName = "node"
				s.write(describeConfigs(kmsg.ConfigResourceTypeBroker, node), resp)
			}
		}
	}},
	{kmsg.DescribeConfigs, "synonyms and documentation", func(s *session) {
		t := s.topic("t", 1, "retention.bytes", "12345")
		req := describeConfigs(kmsg.ConfigResourceTypeTopic, t, "retention.bytes", "cleanup.policy", "segment.ms")
		req.IncludeSynonyms = true
		s.send(req)
	}},
	{kmsg.CreateTopics, "retention and compaction, good and bad", func(s *session) {
		for n, c := range [][]string{
			{"cleanup.policy", ""}, {"cleanup.policy", "delete,delete"}, {"cleanup.policy", " compact , delete "}, {"cleanup.policy", "none"},
			{"retention.ms", "-1"}, {"retention.ms", " 1000 "}, {"retention.ms", "99999999999999999999"}, {"retention.bytes", "-5"}, {"retention.bytes", "1.5"},
			{"min.cleanable.dirty.ratio", "abc"}, {"min.cleanable.dirty.ratio", "0"}, {"min.compaction.lag.ms", "10", "max.compaction.lag.ms", "5"}, {"max.compaction.lag.ms", "0"},
			{"message.timestamp.after.max.ms", "-1"}, {"message.timestamp.type", "Whenever"}, {"max.message.bytes", "9999999999"}, {"preallocate", "TRUE"}, {"remote.storage.enable", "true"},
			{"local.retention.ms", "-3"}, {"follower.replication.throttled.replicas", "*"}, {"follower.replication.throttled.replicas", "0:1,x"}, {"compression.gzip.level", "10"},
			{"flush.messages", "0"}, {"index.interval.bytes", "-1"}, {"segment.index.bytes", "1"}, {"file.delete.delay.ms", "-1"}, {"min.insync.replicas", "0"}, {"segment.jitter.ms", "-1"},
		} {
			req := createTopics(s.name("t")+strconv.Itoa(n), 1, c...)
			req.ValidateOnly = true
			s.send(req)
		}
	}},
	{kmsg.CreateTopics, "a setting twice", func(s *session) {
		s.send(createTopics(s.name("t"), 1, "retention.ms", "1000", "retention.ms", "2000"))
	}},
	{kmsg.AlterConfigs, "bad ones", func(s *session) {
		t := s.topic("t", 1)
		for _, c := range [][2]string{{"retention.ms", "abc"}, {"no.such.setting", "1"}, {"cleanup.policy", "burn"}} {
			s.send(&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: t,
				Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: c[0], Value: &c[1]}}}}})
		}
		s.send(&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: t,
			Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms"}}}}})
		s.send(&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: s.name("nowhere")}}})
	}},
	{kmsg.AlterConfigs, "all settings anew", func(s *session) {
		t := s.topic("t", 1, "retention.ms", "12345")
		value := "compact"
		s.send(&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: t,
			Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "cleanup.policy", Value: &value}}}}})
		s.becomes(t, "retention.ms", "")
		s.becomes(t, "cleanup.policy", "compact")
		s.send(describeConfigs(kmsg.ConfigResourceTypeTopic, t, "retention.ms", "cleanup.policy"))
	}},
}

func describeConfigs(kind kmsg.ConfigResourceType, name string, settings ...string) *kmsg.DescribeConfigsRequest {
	return &kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: settings}}}
}

func alterConfigs(topic string, op kmsg.IncrementalAlterConfigOp, name, value string) *kmsg.IncrementalAlterConfigsRequest {
	c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: op, Value: &value}
	if op == kmsg.IncrementalAlterConfigOpDelete {
		c.Value = nil
	}
	return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{c}}}}
}

// becomes waits until a topic's setting has a value, "" for its default: Apache
// Kafka shows a change a moment after it has answered it.
func (s *session) becomes(topic, name, value string) {
	s.t.Helper()
	s.aside(func() {
		s.until(name+" is "+value, func() bool {
			resp, ok := s.quiet(describeConfigs(kmsg.ConfigResourceTypeTopic, topic, name)).(*kmsg.DescribeConfigsResponse)
			if !ok || len(resp.Resources[0].Configs) != 1 || resp.Resources[0].Configs[0].Value == nil {
				return false
			}
			c := resp.Resources[0].Configs[0]
			set := c.Source == kmsg.ConfigSourceDynamicTopicConfig
			return !set && (value == "" || value == *c.Value) || set && value == *c.Value
		})
	})
}

package core

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// resource is what a configuration is of.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// alterConfigs gives topics a new configuration in place of what was set.
func (m *Machine) alterConfigs(r *Request, req *kmsg.AlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	times := map[resource]int{}
	for _, rr := range req.Resources {
		times[resource{rr.ResourceType, rr.ResourceName}]++
	}
	for _, rr := range req.Resources {
		why := m.alter(resource{rr.ResourceType, rr.ResourceName}, times, req.ValidateOnly, func(map[string]string) (map[string]string, *refusal) {
			config := map[string]string{}
			for _, c := range rr.Configs {
				if c.Value == nil {
					return nil, refused(kerr.InvalidRequest, "option %s has no value", c.Name)
				}
				config[c.Name] = *c.Value
			}
			return config, nil
		})
		a := kmsg.NewAlterConfigsResponseResource()
		a.ResourceType, a.ResourceName = rr.ResourceType, rr.ResourceName
		if why != nil {
			a.ErrorCode, a.ErrorMessage = why.err.Code, text(why.why)
		}
		resp.Resources = append(resp.Resources, a)
	}
	m.durable(r, resp)
}

// incrementalAlterConfigs changes single options of topics.
func (m *Machine) incrementalAlterConfigs(r *Request, req *kmsg.IncrementalAlterConfigsRequest) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	times := map[resource]int{}
	for _, rr := range req.Resources {
		times[resource{rr.ResourceType, rr.ResourceName}]++
	}
	for _, rr := range req.Resources {
		why := m.alter(resource{rr.ResourceType, rr.ResourceName}, times, req.ValidateOnly, func(old map[string]string) (map[string]string, *refusal) {
			return m.change(old, rr.Configs)
		})
		a := kmsg.NewIncrementalAlterConfigsResponseResource()
		a.ResourceType, a.ResourceName = rr.ResourceType, rr.ResourceName
		if why != nil {
			a.ErrorCode, a.ErrorMessage = why.err.Code, text(why.why)
		}
		resp.Resources = append(resp.Resources, a)
	}
	m.durable(r, resp)
}

// alter checks a change of configuration and makes it.
func (m *Machine) alter(of resource, times map[resource]int, validateOnly bool, change func(old map[string]string) (map[string]string, *refusal)) *refusal {
	if times[of] > 1 {
		return refused(kerr.InvalidRequest, "a resource stands in the request twice")
	}
	switch of.kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker:
		if of.name != "" {
			if why := brokerName(of.name); why != nil {
				return why
			}
		}
		// Nothing is set: to take something back, as kafka-reassign-partitions does
		// with its limits, changes nothing.
		if config, why := change(map[string]string{}); why == nil && len(config) == 0 {
			return nil
		}
		return refused(kerr.InvalidRequest, "the broker's configuration cannot be changed while it runs")
	default:
		return refused(kerr.InvalidRequest, "only topics have a configuration that can be changed")
	}
	if of.name == "" {
		return refused(kerr.InvalidRequest, "topics have no common configuration")
	}
	t, why := m.configured(of.name)
	if why != nil {
		return why
	}
	config, why := change(t.config)
	if why != nil {
		return why
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		if _, ok := topicOption(name); !ok {
			return refused(kerr.InvalidConfig, "topics have no option %q", name)
		}
	}
	if err := m.checkConfig(config); err != nil {
		return refused(kerr.InvalidConfig, "%s", err)
	}
	if !validateOnly && !maps.Equal(config, t.config) {
		m.configure(t, config)
	}
	return nil
}

// change returns what old becomes by the operations asked for.
func (m *Machine) change(old map[string]string, asked []kmsg.IncrementalAlterConfigsRequestResourceConfig) (map[string]string, *refusal) {
	config := maps.Clone(old)
	seen := map[string]bool{}
	for _, c := range asked {
		if seen[c.Name] {
			return nil, refused(kerr.InvalidRequest, "option %s stands in the request twice", c.Name)
		}
		seen[c.Name] = true
		if c.Op == kmsg.IncrementalAlterConfigOpDelete {
			delete(config, c.Name)
			continue
		}
		if c.Value == nil {
			return nil, refused(kerr.InvalidRequest, "option %s has no value", c.Name)
		}
		switch c.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			config[c.Name] = *c.Value
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			o, ok := topicOption(c.Name)
			if !ok || o.kind != kmsg.ConfigTypeList {
				return nil, refused(kerr.InvalidConfig, "option %q is no list", c.Name)
			}
			now, set := config[c.Name]
			if !set {
				now = m.defaultOf(o)
			}
			config[c.Name] = edit(list(now), list(*c.Value), c.Op == kmsg.IncrementalAlterConfigOpAppend)
		default:
			return nil, refused(kerr.InvalidRequest, "operation %d is unknown", c.Op)
		}
	}
	return config, nil
}

// edit adds elements to a list, unless they are there, or takes them out of it.
func edit(now, elements []string, add bool) string {
	for _, e := range elements {
		switch {
		case !add:
			now = slices.DeleteFunc(now, func(s string) bool { return s == e })
		case !slices.Contains(now, e):
			now = append(now, e)
		}
	}
	return strings.Join(now, ",")
}

// listConfigResources names what has a configuration (version 0: client
// metrics, of which there are none).
func (m *Machine) listConfigResources(r *Request, req *kmsg.ListConfigResourcesRequest) {
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	wanted := func(kind kmsg.ConfigResourceType) bool {
		return req.Version > 0 && (len(req.ResourceTypes) == 0 || slices.Contains(req.ResourceTypes, int8(kind)))
	}
	add := func(kind kmsg.ConfigResourceType, name string) {
		c := kmsg.NewListConfigResourcesResponseConfigResource()
		c.Name, c.Type = name, int8(kind)
		resp.ConfigResources = append(resp.ConfigResources, c)
	}
	for _, kind := range req.ResourceTypes {
		switch kmsg.ConfigResourceType(kind) {
		case kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger,
			kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		default:
			resp.ErrorCode = kerr.UnsupportedVersion.Code
			m.durable(r, resp)
			return
		}
	}
	if wanted(kmsg.ConfigResourceTypeBroker) {
		add(kmsg.ConfigResourceTypeBroker, "0")
	}
	if wanted(kmsg.ConfigResourceTypeTopic) {
		for _, t := range m.topics.sorted() {
			add(kmsg.ConfigResourceTypeTopic, t.name)
		}
	}
	m.durable(r, resp)
}

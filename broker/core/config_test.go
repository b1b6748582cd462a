package core

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	ofTopic  = kmsg.ConfigResourceTypeTopic
	ofBroker = kmsg.ConfigResourceTypeBroker
)

func TestIncrementalAlterConfigs(t *testing.T) {
	const (
		set = kmsg.IncrementalAlterConfigOpSet
		del = kmsg.IncrementalAlterConfigOpDelete
		add = kmsg.IncrementalAlterConfigOpAppend
		sub = kmsg.IncrementalAlterConfigOpSubtract
	)
	null := "null"
	type change struct {
		name  string
		op    kmsg.IncrementalAlterConfigOp
		value string
	}
	for name, test := range map[string]struct {
		kind     kmsg.ConfigResourceType
		resource string
		changes  []change
		want     *kerr.Error
		config   map[string]string // afterwards, when it is done
	}{
		"set":               {ofTopic, "a", []change{{optRetain, set, "7"}}, nil, map[string]string{optRetain: "7", optCleanup: "compact"}},
		"delete":            {ofTopic, "a", []change{{optRetain, del, null}}, nil, map[string]string{optCleanup: "compact"}},
		"delete unknown":    {ofTopic, "a", []change{{"nope", del, null}}, nil, map[string]string{optRetain: "5", optCleanup: "compact"}},
		"append":            {ofTopic, "a", []change{{optCleanup, add, "delete,compact"}}, nil, map[string]string{optRetain: "5", optCleanup: "compact,delete"}},
		"subtract":          {ofTopic, "a", []change{{optCleanup, sub, "compact"}}, nil, map[string]string{optRetain: "5", optCleanup: ""}},
		"append to default": {ofTopic, "b", []change{{optCleanup, add, "compact"}}, nil, map[string]string{optCleanup: "delete,compact"}},
		"append to number":  {ofTopic, "a", []change{{optRetain, add, "5"}}, kerr.InvalidConfig, nil},
		"append nonsense":   {ofTopic, "a", []change{{optCleanup, add, "foo"}}, kerr.InvalidConfig, nil},
		"bad value":         {ofTopic, "a", []change{{optRetain, set, "x"}}, kerr.InvalidConfig, nil},
		"unknown":           {ofTopic, "a", []change{{"nope", set, "x"}}, kerr.InvalidConfig, nil},
		"null":              {ofTopic, "a", []change{{optRetain, set, null}}, kerr.InvalidRequest, nil},
		"twice":             {ofTopic, "a", []change{{optRetain, set, "1"}, {optRetain, set, "2"}}, kerr.InvalidRequest, nil},
		"one of two is bad": {ofTopic, "a", []change{{optRetain, set, "1"}, {"nope", set, "2"}}, kerr.InvalidConfig, nil},
		"unknown operation": {ofTopic, "a", []change{{optRetain, 9, "1"}}, kerr.InvalidRequest, nil},
		"no topic":          {ofTopic, "no", []change{{optRetain, set, "1"}}, kerr.UnknownTopicOrPartition, nil},
		"bad topic":         {ofTopic, "bad name", []change{{optRetain, set, "1"}}, kerr.InvalidTopicException, nil},
		"every topic":       {ofTopic, "", []change{{optRetain, set, "1"}}, kerr.InvalidRequest, nil},
		"broker":            {ofBroker, "0", []change{{"log.retention.ms", set, "1"}}, kerr.InvalidRequest, nil},
		"broker, nothing":   {ofBroker, "0", []change{{"leader.replication.throttled.rate", del, null}}, nil, nil},
		"broker, null":      {ofBroker, "0", []change{{"log.retention.ms", set, null}}, kerr.InvalidRequest, nil},
		"every broker":      {ofBroker, "", []change{{"log.retention.ms", set, "1"}}, kerr.InvalidRequest, nil},
		"other broker":      {ofBroker, "7", []change{{"log.retention.ms", set, "1"}}, kerr.InvalidRequest, nil},
		"group":             {kmsg.ConfigResourceTypeGroupConfig, "g", nil, kerr.InvalidRequest, nil},
	} {
		a := newAdmin(t)
		a.mustCreate("a", 1, optRetain, "5", optCleanup, "compact")
		a.mustCreate("b", 1)
		for _, validateOnly := range []bool{true, false} {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			req.ValidateOnly = validateOnly
			rr := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: test.kind, ResourceName: test.resource}
			for _, c := range test.changes {
				rc := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.name, Op: c.op, Value: &c.value}
				if c.value == null {
					rc.Value = nil
				}
				rr.Configs = append(rr.Configs, rc)
			}
			req.Resources = append(req.Resources, rr)
			if got := ask[*kmsg.IncrementalAlterConfigsResponse](a, req, 1).Resources[0]; got.ErrorCode != code(test.want) {
				t.Errorf("%s: %v", name, kerr.ErrorForCode(got.ErrorCode))
			}
			want := map[string]string{optRetain: "5", optCleanup: "compact"}
			if test.resource == "b" {
				want = map[string]string{}
			}
			if test.config != nil && !validateOnly {
				want = test.config
			}
			topic := a.m.topics.byName[test.resource]
			if topic == nil {
				topic = a.m.topics.byName["a"]
			}
			if !equal(topic.config, want) || topic.settings != a.m.settingsOf(want) {
				t.Errorf("%s, validate only %v: %v, want %v", name, validateOnly, topic.config, want)
			}
			if v, _ := a.m.view.Topic(topic.name); v.Compact != topic.settings.compact {
				t.Errorf("%s: readers see compaction %v", name, v.Compact)
			}
		}
	}
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return len(a) == len(b)
}

func TestAlterConfigs(t *testing.T) {
	a := newAdmin(t)
	topic := a.mustCreate("a", 1, optRetain, "5", optCleanup, "compact")
	alter := func(resources ...kmsg.AlterConfigsRequestResource) (codes []int16) {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Resources = resources
		for _, r := range ask[*kmsg.AlterConfigsResponse](a, req, 2).Resources {
			codes = append(codes, r.ErrorCode)
		}
		return codes
	}
	to := func(kv ...string) kmsg.AlterConfigsRequestResource {
		r := kmsg.AlterConfigsRequestResource{ResourceType: ofTopic, ResourceName: "a"}
		for i := 0; i < len(kv); i += 2 {
			r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: kv[i], Value: &kv[i+1]})
		}
		return r
	}
	null := to(optRetain, "")
	null.Configs[0].Value = nil
	for name, test := range map[string]struct {
		ask  []kmsg.AlterConfigsRequestResource
		want []int16
	}{
		"unknown":    {[]kmsg.AlterConfigsRequestResource{to("nope", "1")}, []int16{kerr.InvalidConfig.Code}},
		"null":       {[]kmsg.AlterConfigsRequestResource{null}, []int16{kerr.InvalidRequest.Code}},
		"twice":      {[]kmsg.AlterConfigsRequestResource{to(), to()}, []int16{kerr.InvalidRequest.Code, kerr.InvalidRequest.Code}},
		"bad values": {[]kmsg.AlterConfigsRequestResource{to(optMinLag, "2", optMaxLag, "1")}, []int16{kerr.InvalidConfig.Code}},
	} {
		if got := alter(test.ask...); !slices.Equal(got, test.want) || len(topic.config) != 2 {
			t.Errorf("%s: %v, %v", name, got, topic.config)
		}
	}
	if got := alter(to(optRetain, "9")); got[0] != 0 || !equal(topic.config, map[string]string{optRetain: "9"}) || topic.settings.compact {
		t.Errorf("%v, %v", got, topic.config)
	}
}

func TestDescribeConfigs(t *testing.T) {
	a := newAdmin(t)
	a.mustCreate("a", 1, optRetain, "5")
	describe := func(version int16, kind kmsg.ConfigResourceType, name string, names []string, all bool) kmsg.DescribeConfigsResponseResource {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.IncludeSynonyms, req.IncludeDocumentation = all, all
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: names}}
		return ask[*kmsg.DescribeConfigsResponse](a, req, version).Resources[0]
	}
	for version := int16(0); version <= 4; version++ {
		got := describe(version, ofTopic, "a", nil, false)
		if len(got.Configs) != len(topicOptions)-1 {
			t.Errorf("v%d: %d options", version, len(got.Configs))
		}
	}
	got := describe(4, ofTopic, "a", []string{optRetain, optMinLag, "nope"}, true).Configs
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	lag, retain := got[0], got[1]
	if *retain.Value != "5" || retain.Source != kmsg.ConfigSourceDynamicTopicConfig || retain.IsDefault || retain.ConfigType != kmsg.ConfigTypeLong ||
		len(retain.ConfigSynonyms) != 2 || *retain.ConfigSynonyms[1].Value != "-1" || retain.Documentation == nil {
		t.Errorf("%+v", retain)
	}
	if *lag.Value != "0" || lag.Source != kmsg.ConfigSourceDefaultConfig || len(lag.ConfigSynonyms) != 1 || lag.ConfigSynonyms[0].Name != "log.cleaner.min.compaction.lag.ms" {
		t.Errorf("%+v", lag)
	}
	if broker := describe(4, ofBroker, "0", nil, true).Configs; len(broker) < 30 || slices.ContainsFunc(broker, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return !c.ReadOnly }) {
		t.Errorf("broker: %d options", len(broker))
	}
	for _, test := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want *kerr.Error
	}{
		{ofTopic, "no", kerr.UnknownTopicOrPartition}, {ofTopic, "", kerr.InvalidTopicException}, {ofBroker, "", nil}, {ofBroker, "9", kerr.InvalidRequest},
		{ofBroker, "x", kerr.InvalidRequest}, {kmsg.ConfigResourceTypeClientMetrics, "m", kerr.InvalidRequest}, {0, "m", kerr.InvalidRequest},
	} {
		if got := describe(4, test.kind, test.name, nil, true); got.ErrorCode != code(test.want) || len(got.Configs) > 0 {
			t.Errorf("%v %q: %v, %d options", test.kind, test.name, kerr.ErrorForCode(got.ErrorCode), len(got.Configs))
		}
	}

	list := func(version int16, kinds ...int8) (n int, code int16) {
		resp := ask[*kmsg.ListConfigResourcesResponse](a, &kmsg.ListConfigResourcesRequest{ResourceTypes: kinds}, version)
		return len(resp.ConfigResources), resp.ErrorCode
	}
	for _, test := range []struct {
		version int16
		kinds   []int8
		n       int
		code    int16
	}{{0, nil, 0, 0}, {1, nil, 2, 0}, {1, []int8{2}, 1, 0}, {1, []int8{16}, 0, 0}, {1, []int8{77}, 0, kerr.UnsupportedVersion.Code}} {
		if n, code := list(test.version, test.kinds...); n != test.n || code != test.code {
			t.Errorf("v%d of %v: %d, code %d", test.version, test.kinds, n, code)
		}
	}
}

// entry is a state of one key.
type entry struct {
	nothing
	key, value []byte
}

func (e entry) Scan(prefix []byte, fn func(key, value []byte) error) error {
	if len(e.key) >= len(prefix) && string(e.key[:len(prefix)]) == string(prefix) {
		return fn(e.key, e.value)
	}
	return nil
}

func FuzzTopicEntry(f *testing.F) {
	f.Add([]byte("tname"), []byte{stateVersion})
	f.Add([]byte{keyCleaned, 0, 0, 0, 0, 0, 0, 0, 9}, appendCompacted(nil, Compacted{Below: 7}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		a := newAdmin(t)
		if err := a.m.loadTopics(entry{key: key, value: value}); err == nil && len(key) > 0 && key[0] == keyTopic {
			for _, topic := range a.m.topics.byName {
				a.m.turn = Turn{}
				a.m.saveTopic(topic)
			}
		}
		if c, err := parseCompacted(value); err == nil {
			if again, err := parseCompacted(appendCompacted(nil, c)); err != nil || !again.Due.Equal(c.Due) || again.Below != c.Below {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}

package core

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/comptoir/comptoir/broker/store"
)

// nothing is the state of a new directory.
type nothing struct{}

func (nothing) Scan([]byte, func(key, value []byte) error) error             { return nil }
func (nothing) ScanRange(_, _ []byte, _ func(key, value []byte) error) error { return nil }
func (nothing) Bounds(store.Partition) (first, next int64, ok bool)          { return 0, 0, false }

// admin is a machine to which requests are sent one by one.
type admin struct {
	t   *testing.T
	m   *Machine
	now time.Time
}

func newAdmin(t *testing.T) *admin {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg := Config{ClusterID: "c", Host: "localhost", Port: 9092, DefaultPartitions: 2, MinSession: time.Second, FutureLimit: time.Hour, Logger: slog.New(slog.DiscardHandler)}
	m, err := Load(cfg, NewView(), nothing{}, now, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return &admin{t: t, m: m, now: now}
}

// ask sends a request in a turn of its own, and returns the answer as it looks
// after the way over the wire.
func ask[R kmsg.Response](a *admin, req kmsg.Request, version int16) R {
	a.t.Helper()
	req.SetVersion(version)
	var got kmsg.Response
	a.m.Handle(a.now, &Request{Body: req, Answer: func(r kmsg.Response) { got = r }, Dropped: func() { a.t.Fatal("dropped") }})
	turn := a.m.Take()
	release(turn.Relaxed)
	release(turn.Publish)
	release(turn.Durable)
	if got == nil {
		a.t.Fatalf("%T was not answered", req)
	}
	wire := got.AppendTo(nil)
	back := req.ResponseKind()
	back.SetVersion(version)
	if err := back.ReadFrom(wire); err != nil {
		a.t.Fatalf("%T v%d: %v", got, version, err)
	}
	return back.(R)
}

func newTopic(name string, partitions int32, config ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, -1
	for i := 0; i < len(config); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = config[i], &config[i+1]
		t.Configs = append(t.Configs, c)
	}
	return t
}

func (a *admin) create(topics ...kmsg.CreateTopicsRequestTopic) []kmsg.CreateTopicsResponseTopic {
	a.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = topics
	return ask[*kmsg.CreateTopicsResponse](a, req, 7).Topics
}

func (a *admin) mustCreate(name string, partitions int32, config ...string) *topic {
	a.t.Helper()
	if got := a.create(newTopic(name, partitions, config...)); got[0].ErrorCode != 0 {
		a.t.Fatalf("create %q: %v", name, kerr.ErrorForCode(got[0].ErrorCode))
	}
	return a.m.topics.byName[name]
}

func TestCreateTopics(t *testing.T) {
	assign := func(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
		n := newTopic(name, -1)
		for i, r := range replicas {
			ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			ra.Partition, ra.Replicas = int32(i), r
			n.ReplicaAssignment = append(n.ReplicaAssignment, ra)
		}
		return n
	}
	factor := func(n int16) kmsg.CreateTopicsRequestTopic {
		t := newTopic("f", 1)
		t.ReplicationFactor = n
		return t
	}
	withNumber := assign("g", []int32{0})
	withNumber.NumPartitions = 1
	noValue := newTopic("h", 1, optRetain, "1")
	noValue.Configs[0].Value = nil
	twice := assign("i", []int32{0}, []int32{0})
	twice.ReplicaAssignment[1].Partition = 0
	gap := assign("i", []int32{0}, []int32{0})
	gap.ReplicaAssignment[1].Partition = 5

	for name, test := range map[string]struct {
		topic      kmsg.CreateTopicsRequestTopic
		want       *kerr.Error
		partitions int32
	}{
		"plain":                {newTopic("a", 3), nil, 3},
		"default partitions":   {newTopic("a", -1), nil, 2},
		"factor 1":             {factor(1), nil, 1},
		"factor 3":             {factor(3), kerr.InvalidReplicationFactor, -1},
		"factor 0":             {factor(0), kerr.InvalidReplicationFactor, -1},
		"factor -2":            {factor(-2), kerr.InvalidReplicationFactor, -1},
		"no partitions":        {newTopic("a", 0), kerr.InvalidPartitions, -1},
		"too many":             {newTopic("a", maxPartitions+1), kerr.PolicyViolation, -1},
		"exists":               {newTopic("there.is", 1), kerr.TopicAlreadyExists, -1},
		"same but for dots":    {newTopic("there_is", 1), kerr.InvalidTopicException, -1},
		"no name":              {newTopic("", 1), kerr.InvalidTopicException, -1},
		"bad name":             {newTopic("a b", 1), kerr.InvalidTopicException, -1},
		"dots":                 {newTopic("..", 1), kerr.InvalidTopicException, -1},
		"long name":            {newTopic(strings.Repeat("x", 250), 1), kerr.InvalidTopicException, -1},
		"internal":             {newTopic("__consumer_offsets", 1), kerr.InvalidTopicException, -1},
		"assigned":             {assign("a", []int32{0}, []int32{0}, []int32{0}), nil, 3},
		"assigned elsewhere":   {assign("a", []int32{9}), kerr.InvalidReplicaAssignment, -1},
		"assigned twice":       {assign("a", []int32{0, 0}), kerr.InvalidReplicaAssignment, -1},
		"assigned nowhere":     {assign("a", nil), kerr.InvalidReplicaAssignment, -1},
		"assigned with number": {withNumber, kerr.InvalidRequest, -1},
		"partition twice":      {twice, kerr.InvalidReplicaAssignment, -1},
		"partition missing":    {gap, kerr.InvalidReplicaAssignment, -1},
		"unknown option":       {newTopic("a", 1, "nope", "1"), kerr.InvalidConfig, -1},
		"no value":             {noValue, kerr.InvalidConfig, -1},
		"bad option":           {newTopic("a", 1, optRetain, "x"), kerr.InvalidConfig, -1},
		"lags the wrong way":   {newTopic("a", 1, optMinLag, "10", optMaxLag, "5"), kerr.InvalidConfig, -1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdmin(t)
			a.mustCreate("there.is", 1)
			for _, validateOnly := range []bool{true, false} {
				req := kmsg.NewPtrCreateTopicsRequest()
				req.Topics, req.ValidateOnly = append(req.Topics, test.topic), validateOnly
				got := ask[*kmsg.CreateTopicsResponse](a, req, 7).Topics[0]
				if got.ErrorCode != code(test.want) || got.NumPartitions != test.partitions {
					t.Errorf("validate only %v: %v, %d partitions; want %v, %d", validateOnly, kerr.ErrorForCode(got.ErrorCode), got.NumPartitions, test.want, test.partitions)
				}
				made := a.m.topics.byID[got.TopicID]
				if want := test.want == nil && !validateOnly; (made != nil) != want {
					t.Errorf("validate only %v: topic made: %v", validateOnly, made != nil)
				}
				if (got.TopicID != [16]byte{}) != (test.want == nil) {
					t.Errorf("validate only %v: id %x", validateOnly, got.TopicID)
				}
				if test.want == nil && got.ReplicationFactor != 1 {
					t.Errorf("%d replicas", got.ReplicationFactor)
				}
			}
		})
	}

	t.Run("twice in a request", func(t *testing.T) {
		a := newAdmin(t)
		got := a.create(newTopic("a", 1), newTopic("b", 1), newTopic("a", 1))
		if len(got) != 2 || got[0].ErrorCode != kerr.InvalidRequest.Code || got[1].ErrorCode != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("configuration in the answer", func(t *testing.T) {
		a := newAdmin(t)
		got := a.create(newTopic("a", 1, optRetain, "1000"))[0]
		i := slices.IndexFunc(got.Configs, func(c kmsg.CreateTopicsResponseTopicConfig) bool { return c.Name == optRetain })
		if len(got.Configs) != len(topicOptions)-1 || *got.Configs[i].Value != "1000" || got.Configs[i].Source != 1 {
			t.Errorf("%d options, %+v", len(got.Configs), got.Configs[i])
		}
	})
}

func TestTopicOptions(t *testing.T) {
	if !slices.IsSortedFunc(topicOptions, func(a, b option) int { return strings.Compare(a.name, b.name) }) {
		t.Error("options are not sorted")
	}
	for name, test := range map[string]struct {
		option, value string
		ok            bool
	}{
		"list":                {optCleanup, "delete, compact", true},
		"empty list":          {optCleanup, "", true},
		"unknown element":     {optCleanup, "delete,foo", false},
		"long":                {optRetain, " 5 ", true},
		"long at its least":   {optRetain, "-1", true},
		"long below":          {optRetain, "-2", false},
		"long of words":       {optRetain, "x", false},
		"long of nothing":     {optRetain, "", false},
		"long too long":       {optRetain, "9223372036854775808", false},
		"int too long":        {optMaxMessage, "2147483648", false},
		"negative bytes":      {optRetainBytes, "-7", true},
		"small segment":       {"segment.bytes", "100", false},
		"internal":            {"internal.segment.bytes", "100", true},
		"ratio":               {optDirtyRatio, "0.01", true},
		"ratio above":         {optDirtyRatio, "1.5", false},
		"ratio no number":     {optDirtyRatio, "NaN", false},
		"choice":              {optTimestampType, "LogAppendTime", true},
		"no choice":           {optTimestampType, "x", false},
		"truth":               {"preallocate", "True", true},
		"neither":             {"preallocate", "maybe", false},
		"codec":               {"compression.type", "zstd", true},
		"no codec":            {"compression.type", "x", false},
		"gzip level default":  {"compression.gzip.level", "-1", true},
		"gzip level":          {"compression.gzip.level", "9", true},
		"gzip level 0":        {"compression.gzip.level", "0", false},
		"throttled all":       {"leader.replication.throttled.replicas", "*", true},
		"throttled":           {"leader.replication.throttled.replicas", "0:1,1:0", true},
		"throttled nonsense":  {"leader.replication.throttled.replicas", "x", false},
		"remote storage":      {"remote.storage.enable", "true", false},
		"no remote storage":   {"remote.storage.enable", "false", true},
		"a very long value":   {"leader.replication.throttled.replicas", strings.Repeat("1:1,", maxOptionValue) + "1:1", false},
		"deprecated in Kafka": {"message.format.version", "3.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdmin(t)
			if got := a.create(newTopic("a", 1, test.option, test.value))[0]; (got.ErrorCode == 0) != test.ok {
				t.Errorf("%v %v", kerr.ErrorForCode(got.ErrorCode), got.ErrorMessage)
			}
		})
	}

	a := newAdmin(t)
	s := a.mustCreate("a", 1, optCleanup, "compact, delete", optRetain, "1000", optTimestampType, "LogAppendTime", optMaxLag, maxLong).settings
	want := a.m.settingsOf(nil)
	if want.compact || !want.delete || want.retain >= 0 || want.timestampAfter != time.Hour.Milliseconds() || want.maxMessageBytes != 1048588 {
		t.Errorf("defaults: %+v", want)
	}
	want.compact, want.retain, want.appendTime = true, time.Second, true
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

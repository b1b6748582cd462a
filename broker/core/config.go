package core

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// option is a setting of topics: those of Apache Kafka 4, all of them, so that
// tools and applications that set one are understood. Some have nothing to say
// here (segments, replicas, remote storage); their texts tell which.
type option struct {
	name string
	kind kmsg.ConfigType
	// value is the default; "" stands for an empty list.
	value string
	// check says why a value of the right type is refused; nil allows all.
	check func(value string) error
	// broker is the broker setting that gives the default; "" for none.
	broker string
	doc    string
	// hidden options are understood and not described: Kafka keeps them to itself.
	hidden bool
}

const (
	optCleanup       = "cleanup.policy"
	optDeleteAfter   = "delete.retention.ms"
	optMaxLag        = "max.compaction.lag.ms"
	optMaxMessage    = "max.message.bytes"
	optAfter         = "message.timestamp.after.max.ms"
	optBefore        = "message.timestamp.before.max.ms"
	optTimestampType = "message.timestamp.type"
	optDirtyRatio    = "min.cleanable.dirty.ratio"
	optMinLag        = "min.compaction.lag.ms"
	optRetainBytes   = "retention.bytes"
	optRetain        = "retention.ms"
	optSegmentMS     = "segment.ms"

	// maxOptionValue is the largest length of a value.
	maxOptionValue = 32 << 10

	kept   = " Kept and shown; it changes nothing here: there are no segment files."
	single = " Kept and shown; it changes nothing here: there is one broker."
	remote = " Kept and shown; it changes nothing here: there is no remote storage."
)

// topicOptions are sorted by name.
var topicOptions = []option{
	{name: optCleanup, kind: kmsg.ConfigTypeList, value: "delete", check: oneOfEach("compact", "delete"), broker: "log.cleanup.policy",
		doc: "What becomes of old records: delete (by retention.ms and retention.bytes), compact (the last of each key stays), both, or an empty list for neither."},
	{name: "compression.gzip.level", kind: kmsg.ConfigTypeInt, value: "-1", check: gzipLevel, broker: "compression.gzip.level",
		doc: "Kept and shown; batches stay compressed as their producers sent them."},
	{name: "compression.lz4.level", kind: kmsg.ConfigTypeInt, value: "9", check: between(1, 17), broker: "compression.lz4.level",
		doc: "Kept and shown; batches stay compressed as their producers sent them."},
	{name: "compression.type", kind: kmsg.ConfigTypeString, value: "producer", check: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), broker: "compression.type",
		doc: "Kept and shown; batches stay compressed as their producers sent them, whatever it says."},
	{name: "compression.zstd.level", kind: kmsg.ConfigTypeInt, value: "3", check: between(-131072, 22), broker: "compression.zstd.level",
		doc: "Kept and shown; batches stay compressed as their producers sent them."},
	{name: optDeleteAfter, kind: kmsg.ConfigTypeLong, value: "86400000", check: least(0), broker: "log.cleaner.delete.retention.ms",
		doc: "How long compaction keeps tombstones and transaction markers, in milliseconds from the first pass over them."},
	{name: "file.delete.delay.ms", kind: kmsg.ConfigTypeLong, value: "60000", check: least(0), broker: "log.segment.delete.delay.ms",
		doc: "How long a deleted segment file stays." + kept},
	{name: "flush.messages", kind: kmsg.ConfigTypeLong, value: maxLong, check: least(1), broker: "log.flush.interval.messages",
		doc: "After how many records to sync. Kept and shown; the broker's sync mode rules."},
	{name: "flush.ms", kind: kmsg.ConfigTypeLong, value: maxLong, check: least(0),
		doc: "After how many milliseconds to sync. Kept and shown; the broker's sync mode rules."},
	{name: "follower.replication.throttled.replicas", kind: kmsg.ConfigTypeList, check: throttled,
		doc: "Replicas whose replication is slowed down." + single},
	{name: "index.interval.bytes", kind: kmsg.ConfigTypeInt, value: "4096", check: least(0), broker: "log.index.interval.bytes",
		doc: "How dense a segment's index is." + kept},
	{name: "internal.segment.bytes", kind: kmsg.ConfigTypeInt, check: least(1), hidden: true},
	{name: "leader.replication.throttled.replicas", kind: kmsg.ConfigTypeList, check: throttled,
		doc: "Replicas whose replication is slowed down." + single},
	{name: "local.retention.bytes", kind: kmsg.ConfigTypeLong, value: "-2", check: least(-2), broker: "log.local.retention.bytes",
		doc: "How many bytes stay when older ones are in remote storage." + remote},
	{name: "local.retention.ms", kind: kmsg.ConfigTypeLong, value: "-2", check: least(-2), broker: "log.local.retention.ms",
		doc: "How long records stay when older ones are in remote storage." + remote},
	{name: optMaxLag, kind: kmsg.ConfigTypeLong, value: maxLong, check: least(1), broker: "log.cleaner.max.compaction.lag.ms",
		doc: "The longest time in milliseconds that a record waits for compaction, whatever min.cleanable.dirty.ratio says."},
	{name: optMaxMessage, kind: kmsg.ConfigTypeInt, value: "1048588", check: least(0), broker: "message.max.bytes",
		doc: "The largest record batch in bytes, as the producer sends it."},
	{name: optAfter, kind: kmsg.ConfigTypeLong, value: "3600000", check: least(0), broker: "log.message.timestamp.after.max.ms",
		doc: "How far ahead of the broker's clock a record may be dated, in milliseconds."},
	{name: optBefore, kind: kmsg.ConfigTypeLong, value: maxLong, check: least(0), broker: "log.message.timestamp.before.max.ms",
		doc: "How far behind the broker's clock a record may be dated, in milliseconds."},
	{name: optTimestampType, kind: kmsg.ConfigTypeString, value: "CreateTime", check: oneOf("CreateTime", "LogAppendTime"), broker: "log.message.timestamp.type",
		doc: "Whose time records carry: the producer's (CreateTime) or the broker's (LogAppendTime)."},
	{name: optDirtyRatio, kind: kmsg.ConfigTypeDouble, value: "0.5", check: ratio, broker: "log.cleaner.min.cleanable.ratio",
		doc: "Compaction begins when this share of a partition's bytes is new since the last pass."},
	{name: optMinLag, kind: kmsg.ConfigTypeLong, value: "0", check: least(0), broker: "log.cleaner.min.compaction.lag.ms",
		doc: "The shortest time in milliseconds that a record stays out of compaction's reach."},
	{name: "min.insync.replicas", kind: kmsg.ConfigTypeInt, value: "1", check: least(1), broker: "min.insync.replicas",
		doc: "How many replicas must have a record before it is acknowledged." + single},
	{name: "preallocate", kind: kmsg.ConfigTypeBoolean, value: "false", broker: "log.preallocate",
		doc: "Whether segment files get their size at once." + kept},
	{name: "remote.log.copy.disable", kind: kmsg.ConfigTypeBoolean, value: "false",
		doc: "Whether to stop copying to remote storage." + remote},
	{name: "remote.log.delete.on.disable", kind: kmsg.ConfigTypeBoolean, value: "false",
		doc: "Whether to delete from remote storage when it is switched off." + remote},
	{name: "remote.storage.enable", kind: kmsg.ConfigTypeBoolean, value: "false", check: noRemote,
		doc: "Remote storage. It cannot be switched on."},
	{name: optRetainBytes, kind: kmsg.ConfigTypeLong, value: "-1", broker: "log.retention.bytes",
		doc: "How many bytes of a partition stay at least when cleanup.policy has delete; negative for all."},
	{name: optRetain, kind: kmsg.ConfigTypeLong, value: "-1", check: least(-1), broker: "log.retention.ms",
		doc: "How many milliseconds records stay when cleanup.policy has delete; -1, the default here, for ever."},
	{name: "segment.bytes", kind: kmsg.ConfigTypeInt, value: "1073741824", check: least(1 << 20), broker: "log.segment.bytes",
		doc: "The size of a segment file." + kept},
	{name: "segment.index.bytes", kind: kmsg.ConfigTypeInt, value: "10485760", check: least(4), broker: "log.index.size.max.bytes",
		doc: "The size of a segment's index." + kept},
	{name: "segment.jitter.ms", kind: kmsg.ConfigTypeLong, value: "0", check: least(0),
		doc: "By how much segments differ in age." + kept},
	{name: optSegmentMS, kind: kmsg.ConfigTypeLong, value: "604800000", check: least(1),
		doc: "When a segment ends. Here, if less than a minute: how long the end of a partition is out of compaction's reach."},
	{name: "unclean.leader.election.enable", kind: kmsg.ConfigTypeBoolean, value: "false", broker: "unclean.leader.election.enable",
		doc: "Whether a replica that lags may lead." + single},
}

var maxLong = strconv.FormatInt(math.MaxInt64, 10)

func topicOption(name string) (option, bool) {
	for _, o := range topicOptions {
		if o.name == name {
			return o, true
		}
	}
	return option{}, false
}

// settings are a topic's options, read. It is comparable.
type settings struct {
	compact, delete bool
	retain          time.Duration // negative: for ever
	retainBytes     int64         // negative: all
	segment         time.Duration
	dirtyRatio      float64
	deleteAfter     time.Duration
	minLag, maxLag  time.Duration
	maxMessageBytes int64
	appendTime      bool
	timestampBefore int64 // milliseconds
	timestampAfter  int64 // milliseconds
}

// defaultOf is what an option is when nobody has set it.
func (m *Machine) defaultOf(o option) string {
	if o.name == optAfter {
		if m.cfg.FutureLimit <= 0 {
			return maxLong
		}
		return strconv.FormatInt(m.cfg.FutureLimit.Milliseconds(), 10)
	}
	return o.value
}

// settingsOf reads a topic's configuration, which has been checked.
func (m *Machine) settingsOf(config map[string]string) settings {
	get := func(name string) string {
		if v, ok := config[name]; ok {
			return strings.TrimSpace(v)
		}
		o, _ := topicOption(name)
		return m.defaultOf(o)
	}
	long := func(name string) int64 {
		v, _ := strconv.ParseInt(get(name), 10, 64)
		return v
	}
	s := settings{
		compact:         slices.Contains(list(get(optCleanup)), "compact"),
		delete:          slices.Contains(list(get(optCleanup)), "delete"),
		retain:          millis(long(optRetain)),
		retainBytes:     long(optRetainBytes),
		segment:         millis(long(optSegmentMS)),
		deleteAfter:     millis(long(optDeleteAfter)),
		minLag:          millis(long(optMinLag)),
		maxLag:          millis(long(optMaxLag)),
		maxMessageBytes: long(optMaxMessage),
		appendTime:      get(optTimestampType) == "LogAppendTime",
		timestampBefore: long(optBefore),
		timestampAfter:  long(optAfter),
	}
	s.dirtyRatio, _ = strconv.ParseFloat(get(optDirtyRatio), 64)
	return s
}

// millis is a number of milliseconds, the longest duration for those that do
// not fit one.
func millis(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// checkConfig says why a topic cannot have a configuration.
func (m *Machine) checkConfig(config map[string]string) error {
	for _, o := range topicOptions {
		if v, ok := config[o.name]; ok {
			if err := checkOption(o, v); err != nil {
				return err
			}
		}
	}
	s := m.settingsOf(config)
	if s.minLag > s.maxLag {
		return fmt.Errorf("%s is more than %s", optMinLag, optMaxLag)
	}
	return nil
}

func checkOption(o option, value string) error {
	v := strings.TrimSpace(value)
	err := checkType(o.kind, v)
	if err == nil && o.check != nil {
		err = o.check(v)
	}
	if err == nil && len(value) > maxOptionValue {
		return fmt.Errorf("the value of %s has %d bytes, the limit is %d", o.name, len(value), maxOptionValue)
	}
	if err != nil {
		return fmt.Errorf("%q is no value for %s: %w", value, o.name, err)
	}
	return nil
}

func checkType(kind kmsg.ConfigType, v string) error {
	switch kind {
	case kmsg.ConfigTypeBoolean:
		if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
			return fmt.Errorf("it is true or false")
		}
	case kmsg.ConfigTypeInt:
		if _, err := strconv.ParseInt(v, 10, 32); err != nil {
			return fmt.Errorf("it is a whole number of 32 bits")
		}
	case kmsg.ConfigTypeLong:
		if _, err := strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf("it is a whole number of 64 bits")
		}
	case kmsg.ConfigTypeDouble:
		if f, err := strconv.ParseFloat(v, 64); err != nil || math.IsNaN(f) {
			return fmt.Errorf("it is a number")
		}
	}
	return nil
}

// list reads a list's elements; an empty text has none.
func list(v string) []string {
	if strings.TrimSpace(v) == "" {
		return nil
	}
	all := strings.Split(v, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

func least(limit int64) func(string) error { return between(limit, math.MaxInt64) }

func between(from, to int64) func(string) error {
	return func(v string) error {
		n, _ := strconv.ParseInt(v, 10, 64)
		if n < from {
			return fmt.Errorf("it is %d at least", from)
		}
		if n > to {
			return fmt.Errorf("it is %d at most", to)
		}
		return nil
	}
}

func gzipLevel(v string) error {
	if v == "-1" {
		return nil
	}
	return between(1, 9)(v)
}

func ratio(v string) error {
	if f, _ := strconv.ParseFloat(v, 64); f < 0 || f > 1 {
		return fmt.Errorf("it is between 0 and 1")
	}
	return nil
}

func oneOf(allowed ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(allowed, v) {
			return fmt.Errorf("it is one of %s", strings.Join(allowed, ", "))
		}
		return nil
	}
}

func oneOfEach(allowed ...string) func(string) error {
	one := oneOf(allowed...)
	return func(v string) error {
		for _, e := range list(v) {
			if err := one(e); err != nil {
				return err
			}
		}
		return nil
	}
}

var replicas = regexp.MustCompile(`^\d+:\d+$`)

func throttled(v string) error {
	if v == "*" {
		return nil
	}
	for _, e := range list(v) {
		if !replicas.MatchString(e) {
			return fmt.Errorf("it is * or a list of partition:broker")
		}
	}
	return nil
}

func noRemote(v string) error {
	if strings.EqualFold(v, "true") {
		return fmt.Errorf("this broker has no remote storage")
	}
	return nil
}

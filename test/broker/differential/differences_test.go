package differential

import (
	"path"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// difference is one that is intended.
type difference struct {
	// name is the kind of request and the case, as in "Metadata/an unknown topic".
	name string
	// path is the field's, as it stands in the complaint: the number of the answer
	// within the case, its kind, the field; kafka and ours are the values. In all of
	// them a * stands for anything.
	path, kafka, ours string
	// from and to narrow the versions down, if to is not 0.
	from, to int16
	// reason is for readers, and for the complaint when it has gone.
	reason string
}

func (d difference) covers(c kase, version int16, line complaint) bool {
	value := d.ours
	if line.kafka {
		value = d.kafka
	}
	return matches(d.name, kmsg.NameForKey(int16(c.key))+"/"+c.name) && version >= d.from && (d.to == 0 || version <= d.to) && matches(d.path, line.path) && matches(value, line.value)
}

func matches(pattern, s string) bool {
	clean := strings.NewReplacer("/", "|", "[]", "none")
	ok, err := path.Match(clean.Replace(pattern), clean.Replace(s))
	return ok && err == nil
}

const missing = "no line" // is the value of a side that does not have the field

const defaultRetention = "604800000" // of Apache Kafka: a week

// intended are the differences that stay. docs/broker.md tells of those that users
// can meet.
var intended = []difference{
	{name: "*", path: "*. CreateTopics Topics.*.Configs.retention.ms.Value", kafka: defaultRetention, ours: "-1", reason: "`retention.ms` is -1 by default: nothing is deleted until it is asked for"},
	{name: "*", path: "*. DescribeConfigs Resources.*.Configs.retention.ms.Value", kafka: defaultRetention, ours: "-1", reason: "`retention.ms` is -1 by default: nothing is deleted until it is asked for"},
	{name: "*", path: "*. CreateTopics Topics.*.Configs.min.insync.replicas.Source", kafka: "3", ours: "5", reason: "the default of `min.insync.replicas` is one of the program, in Apache Kafka a setting of the cluster"},
	{name: "*", path: "*. DescribeConfigs Resources.*.Configs.min.insync.replicas.Source", kafka: "DYNAMIC_DEFAULT_BROKER_CONFIG", ours: "DEFAULT_CONFIG", reason: "the default of `min.insync.replicas` is one of the program, in Apache Kafka a setting of the cluster"},
	{name: "IncrementalAlterConfigs/set, delete, append, subtract", path: "11. IncrementalAlterConfigs Resources.0.ErrorCode", kafka: "-1", ours: "42", reason: "a code that says what is wrong, in place of UNKNOWN_SERVER_ERROR"},
	{name: "Metadata/an unknown topic", path: "created by the question", kafka: "false", ours: "true", to: 3, reason: "a topic that is created by asking for it is there at once, in Apache Kafka a moment later"},
	{name: "Produce/no batch", path: "1. Produce*", kafka: "no answer*", ours: "*", reason: "Apache Kafka never answers a produce without a batch"},
	{name: "DescribeProducers/of a partition", path: "* DescribeProducers Topics.*.Partitions.*.ActiveProducers.*.CoordinatorEpoch", kafka: "-1", ours: "0", reason: "the coordinator is the broker itself, from the beginning"},
	{name: "DescribeConfigs/of the broker", path: "?. DescribeConfigs Resources.0.Configs.*.ReadOnly", kafka: "false", ours: "true", reason: "the broker's configuration cannot be changed while it runs"},
	{name: "IncrementalAlterConfigs/what is not a topic", path: "[124]. IncrementalAlterConfigs Resources.0.ErrorCode", kafka: "0", ours: "42", reason: "the broker's configuration cannot be changed while it runs"},
	{name: "IncrementalAlterConfigs/what is not a topic", path: "[14]. IncrementalAlterConfigs Resources.0.ResourceName", kafka: "1", ours: "0", reason: "the broker has number 0"},
	{name: "IncrementalAlterConfigs/what is not a topic", path: "[56]. IncrementalAlterConfigs Resources.0.ErrorCode", kafka: "0", ours: "42", reason: "groups have no configuration, and there is no client telemetry"},
	{name: "DescribeConfigs/what is not a topic", path: "[12]. DescribeConfigs Resources.0.ErrorCode", kafka: "0", ours: "42", reason: "groups have no configuration, and there is no client telemetry"},
	{name: "DescribeConfigs/what is not a topic", path: "[12]. DescribeConfigs Resources.0.Configs*", kafka: "*", ours: "[]", reason: "groups have no configuration, and there is no client telemetry"},
	{name: "DescribeGroups/the same group twice", path: "1. DescribeGroups Groups.1.*", kafka: "*", ours: missing, reason: "what is asked for twice is answered once: a small request has no large answer"},
	{name: "DeleteGroups/while a transaction holds an offset of it", path: "1. DeleteGroups Groups.0.ErrorCode", kafka: "0", ours: "68", reason: "a group is not deleted while an open transaction holds offsets of it"},
	{name: "Produce/unknown attributes", path: "1. Produce Topics.0.Partitions.0.ErrorCode", kafka: "0", ours: "87", reason: "a batch with attributes that nobody knows is refused"},
	{name: "Produce/unknown attributes", path: "1. Produce Topics.0.Partitions.0.BaseOffset", kafka: "0", ours: "-1", reason: "a batch with attributes that nobody knows is refused"},
	{name: "Produce/a batch stamped by its client", path: "1. Produce Topics.0.Partitions.0.ErrorCode", kafka: "0", ours: "32", reason: "a batch that its client has stamped as the broker does is refused"},
	{name: "Produce/a batch stamped by its client", path: "1. Produce Topics.0.Partitions.0.BaseOffset", kafka: "0", ours: "-1", reason: "a batch that its client has stamped as the broker does is refused"},
	{name: "Produce/a batch stamped by its client", path: "1. Produce Topics.0.Partitions.0.ErrorRecords", kafka: "[]", ours: missing, reason: "a batch that its client has stamped as the broker does is refused"},
	{name: "Produce/a batch stamped by its client", path: "1. Produce Topics.0.Partitions.0.ErrorRecords.0.RelativeOffset", kafka: missing, ours: "0", reason: "a batch that its client has stamped as the broker does is refused"},
	{name: "Produce/a codec that does not exist", path: "?. Produce Topics.0.Partitions.0.ErrorCode", kafka: "-1", ours: "87", reason: "a code that says what is wrong, in place of UNKNOWN_SERVER_ERROR"},
	{name: "Produce/bytes that are not compressed as they say", path: "?. Produce Topics.0.Partitions.0.ErrorCode", kafka: "-1", ours: "87", reason: "a code that says what is wrong, in place of UNKNOWN_SERVER_ERROR"},
	{name: "Produce/a topic with a codec of its own", path: "2. Fetch Topics.0.Partitions.0.RecordBatches.0", kafka: "offset 0+1 attributes 1 * records 2, compressed", ours: `offset 0+1 attributes 0 * records 0:""="a",1:""="b"`, reason: "batches stay as their producers sent them"},
	{name: "WriteTxnMarkers/an abort of what is open", path: "1. WriteTxnMarkers Markers.0.Topics.0.Partitions.0.ErrorCode", kafka: "-1", ours: "47", reason: "a code that says what is wrong, in place of UNKNOWN_SERVER_ERROR"},
	{name: "WriteTxnMarkers/an abort of what is open", path: "3. Fetch Topics.0.Partitions.0.RecordBatches.1", kafka: "offset 1+0 attributes 30 producer-1 epoch 0 *", ours: "offset 1+0 attributes 30 producer-1 epoch 1 *", reason: "an abort from outside ends all of the transaction, and fences its producer"},
	{name: "Fetch/by a follower that does not exist", path: "1. Fetch*", kafka: "*", ours: "no answer", from: 15, reason: "Brokers that ask to follow it are refused"},
	{name: "Fetch/a session of its own", path: "1. Fetch SessionID", kafka: "*", ours: "0", reason: "fetch sessions are not kept: every fetch names all it wants"},
	{name: "Fetch/aborted ones, from each offset", path: "[1-4]. Fetch Topics.0.Partitions.0.AbortedTransactions.?.FirstOffset", kafka: "6", ours: missing, reason: "aborted transactions after the records of the answer are not named"},
	{name: "Fetch/aborted ones, from each offset", path: "[1-4]. Fetch Topics.0.Partitions.0.AbortedTransactions.?.ProducerID", kafka: "producer-1", ours: missing, reason: "aborted transactions after the records of the answer are not named"},
	{name: "Fetch/aborted ones, from each offset", path: "4. Fetch Topics.0.Partitions.0.AbortedTransactions", kafka: missing, ours: "[]", reason: "aborted transactions after the records of the answer are not named"},
	{name: "TxnOffsetCommit/by a fenced producer", path: "4. TxnOffsetCommit Topics.0.Partitions.0.ErrorCode", kafka: "0", ours: "49", reason: "offsets in a transaction are refused whenever the transactional id is not the producer's"},
	{name: "TxnOffsetCommit/by a fenced producer", path: "5. TxnOffsetCommit Topics.0.Partitions.0.ErrorCode", kafka: "0", ours: "42", reason: "offsets in a transaction are refused whenever the transactional id is not the producer's"},
}

// notSpoken are requests that Apache Kafka answers and we do not, and why.
var notSpoken = map[kmsg.Key]string{
	kmsg.ConsumerGroupHeartbeat:       "the next generation of groups (KIP-848) waits",
	kmsg.ConsumerGroupDescribe:        "the next generation of groups (KIP-848) waits",
	kmsg.ShareGroupHeartbeat:          "share groups (KIP-932) wait",
	kmsg.ShareGroupDescribe:           "share groups (KIP-932) wait",
	kmsg.ShareFetch:                   "share groups (KIP-932) wait",
	kmsg.ShareAcknowledge:             "share groups (KIP-932) wait",
	kmsg.DescribeShareGroupOffsets:    "share groups (KIP-932) wait",
	kmsg.AlterShareGroupOffsets:       "share groups (KIP-932) wait",
	kmsg.DeleteShareGroupOffsets:      "share groups (KIP-932) wait",
	kmsg.InitializeShareGroupState:    "between brokers",
	kmsg.ReadShareGroupState:          "between brokers",
	kmsg.WriteShareGroupState:         "between brokers",
	kmsg.DeleteShareGroupState:        "between brokers",
	kmsg.ReadShareGroupStateSummary:   "between brokers",
	kmsg.StreamsGroupHeartbeat:        "groups of Kafka Streams (KIP-1071) wait",
	kmsg.StreamsGroupDescribe:         "groups of Kafka Streams (KIP-1071) wait",
	kmsg.SASLHandshake:                "no sign-in: loopback only",
	kmsg.SASLAuthenticate:             "no sign-in: loopback only",
	kmsg.DescribeACLs:                 "no access control: loopback only",
	kmsg.CreateACLs:                   "no access control: loopback only",
	kmsg.DeleteACLs:                   "no access control: loopback only",
	kmsg.CreateDelegationToken:        "no access control: loopback only",
	kmsg.RenewDelegationToken:         "no access control: loopback only",
	kmsg.ExpireDelegationToken:        "no access control: loopback only",
	kmsg.DescribeDelegationToken:      "no access control: loopback only",
	kmsg.DescribeUserSCRAMCredentials: "no sign-in: loopback only",
	kmsg.AlterUserSCRAMCredentials:    "no sign-in: loopback only",
	kmsg.DescribeClientQuotas:         "no quotas",
	kmsg.AlterClientQuotas:            "no quotas",
	kmsg.AlterReplicaLogDirs:          "one broker, one folder",
	kmsg.UpdateFeatures:               "one broker, one version",
	kmsg.DescribeQuorum:               "no quorum",
	kmsg.AddRaftVoter:                 "no quorum",
	kmsg.RemoveRaftVoter:              "no quorum",
	kmsg.UnregisterBroker:             "one broker",
	kmsg.GetTelemetrySubscriptions:    "no client telemetry",
	kmsg.PushTelemetry:                "no client telemetry",
}

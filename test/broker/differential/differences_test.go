package differential

import (
	"path"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// difference is one that is intended.
type difference struct {
	name string // of the cases, with *
	path string // of the field, with *, as it stands in the complaint, [ and ] as \\[ and \\]
	// from and to narrow the versions down, if to is not 0.
	from, to int16
	// reason is for readers, and for the complaint when it has gone.
	reason string
}

func (d difference) covers(c kase, version int16, field string) bool {
	return matches(d.name, c.name) && version >= d.from && (d.to == 0 || version <= d.to) && matches(d.path, field)
}

func matches(pattern, s string) bool {
	clean := strings.NewReplacer("/", "|")
	ok, err := path.Match(clean.Replace(pattern), clean.Replace(s))
	return ok && err == nil
}

// intended are the differences that stay.
var intended = []difference{
	{name: "*", path: "CreateTopics Topics\\[*\\].Configs\\[*\\].Value", reason: "retention.ms is -1: a machine of one's own keeps everything until it is told otherwise"},
	{name: "*", path: "CreateTopics Topics\\[*\\].Configs\\[*\\].Source", reason: "the tested Apache Kafka has min.insync.replicas in its broker's settings, and some in its file"},
	{name: "*", path: "DescribeConfigs Resources\\[*\\].Configs\\[*\\].Value", reason: "retention.ms is -1: a machine of one's own keeps everything until it is told otherwise; Apache Kafka shows changes a moment later"},
	{name: "*", path: "DescribeConfigs Resources\\[*\\].Configs\\[*\\].Source", reason: "as with its value"},
	{name: "an unknown topic*", path: "Metadata *", to: 3, reason: "versions up to 3 create what they ask for: ours does so at once, Apache Kafka a moment later"},
	{name: "by a follower that does not exist", path: "Fetch *", reason: "there are no replicas, so nobody is held against a list of them"},
	{name: "no batch", path: "Produce*", reason: "Apache Kafka does not answer at all"},
	{name: "of a partition", path: "DescribeProducers *.CoordinatorEpoch", reason: "the coordinator is the broker itself"},
	{name: "*", path: "DescribeLogDirs Dirs\\[*\\].*Bytes", reason: "the disk's free space is no two times the same"},
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
	kmsg.ElectLeaders:                 "one broker",
	kmsg.AlterPartitionAssignments:    "one broker",
	kmsg.ListPartitionReassignments:   "one broker",
	kmsg.AlterReplicaLogDirs:          "one broker, one folder",
	kmsg.UpdateFeatures:               "one broker, one version",
	kmsg.DescribeQuorum:               "no quorum",
	kmsg.AddRaftVoter:                 "no quorum",
	kmsg.RemoveRaftVoter:              "no quorum",
	kmsg.UnregisterBroker:             "one broker",
	kmsg.GetTelemetrySubscriptions:    "no client telemetry",
	kmsg.PushTelemetry:                "no client telemetry",
	kmsg.ListConfigResources:          "no client telemetry",
	kmsg.DescribeTopicPartitions:      "clients fall back on Metadata",
	kmsg.WriteTxnMarkers:              "between brokers",
	kmsg.OffsetDelete:                 "waits",
	kmsg.AlterConfigs:                 "IncrementalAlterConfigs has taken its place",
}

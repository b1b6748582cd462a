package server

import (
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// span is the versions of a request that are answered.
type span struct{ least, max int16 }

// versions is what is answered, and so what is announced. Fetch sessions,
// KIP-848 groups, quotas, ACLs and SASL are not.
var versions = map[int16]span{
	int16(kmsg.Produce):                    {3, 13},
	int16(kmsg.Fetch):                      {4, 17},
	int16(kmsg.ListOffsets):                {1, 8},
	int16(kmsg.Metadata):                   {0, 13},
	int16(kmsg.OffsetCommit):               {2, 10},
	int16(kmsg.OffsetFetch):                {1, 10},
	int16(kmsg.FindCoordinator):            {0, 6},
	int16(kmsg.JoinGroup):                  {2, 9},
	int16(kmsg.Heartbeat):                  {0, 4},
	int16(kmsg.LeaveGroup):                 {0, 5},
	int16(kmsg.SyncGroup):                  {0, 5},
	int16(kmsg.DescribeGroups):             {0, 6},
	int16(kmsg.ListGroups):                 {0, 5},
	int16(kmsg.ApiVersions):                {0, 4},
	int16(kmsg.CreateTopics):               {2, 7},
	int16(kmsg.DeleteTopics):               {1, 6},
	int16(kmsg.DeleteRecords):              {0, 2},
	int16(kmsg.InitProducerID):             {0, 5},
	int16(kmsg.DeleteGroups):               {0, 2},
	int16(kmsg.OffsetDelete):               {0, 0},
	int16(kmsg.OffsetForLeaderEpoch):       {2, 4},
	int16(kmsg.AddPartitionsToTxn):         {0, 5},
	int16(kmsg.AddOffsetsToTxn):            {0, 4},
	int16(kmsg.EndTxn):                     {0, 5},
	int16(kmsg.WriteTxnMarkers):            {1, 2},
	int16(kmsg.TxnOffsetCommit):            {0, 5},
	int16(kmsg.DescribeConfigs):            {1, 4},
	int16(kmsg.AlterConfigs):               {0, 2},
	int16(kmsg.DescribeLogDirs):            {1, 4},
	int16(kmsg.CreatePartitions):           {0, 3},
	int16(kmsg.ElectLeaders):               {0, 2},
	int16(kmsg.IncrementalAlterConfigs):    {0, 1},
	int16(kmsg.AlterPartitionAssignments):  {0, 0},
	int16(kmsg.ListPartitionReassignments): {0, 0},
	int16(kmsg.DescribeCluster):            {0, 1},
	int16(kmsg.DescribeProducers):          {0, 0},
	int16(kmsg.DescribeTransactions):       {0, 0},
	int16(kmsg.ListTransactions):           {0, 2},
	int16(kmsg.ListConfigResources):        {0, 1},
	int16(kmsg.DescribeTopicPartitions):    {0, 0},
}

// transactionVersion is the protocol of transactions: with 2 a produce takes its
// partition into the transaction, and each end raises the epoch (KIP-890).
const (
	transactionFeature = "transaction.version"
	transactionVersion = 2
)

// announcedProduce is the least version announced of produce: clients of librdkafka
// look for old ones, and never use them (KAFKA-18659).
const announcedProduce = 0

// softwareName is what a client may be called, and its version: they would stand
// in metrics (KIP-511).
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?$`)

// introduced answers a client that says what it is.
func introduced(req *kmsg.ApiVersionsRequest) kmsg.Response {
	if req.Version >= 3 && !(softwareName.MatchString(req.ClientSoftwareName) && softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	return apiVersions(req.Version, false)
}

// apiVersions answers what versions are answered.
func apiVersions(version int16, unsupported bool) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	if unsupported {
		resp.ErrorCode = kerr.UnsupportedVersion.Code
	}
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		v := versions[key]
		if key == int16(kmsg.Produce) {
			v.least = announcedProduce
		}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = key, v.least, v.max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	if version >= 3 {
		can := kmsg.NewApiVersionsResponseSupportedFeature()
		can.Name, can.MaxVersion = transactionFeature, transactionVersion
		is := kmsg.NewApiVersionsResponseFinalizedFeature()
		is.Name, is.MinVersionLevel, is.MaxVersionLevel = transactionFeature, transactionVersion, transactionVersion
		resp.SupportedFeatures = append(resp.SupportedFeatures, can)
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, is)
		resp.FinalizedFeaturesEpoch = 1
	}
	return resp
}

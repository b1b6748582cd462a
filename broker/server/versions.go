package server

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// span is the versions of a request that are answered.
type span struct{ least, max int16 }

// versions is what is answered, and so what is announced. Fetch sessions,
// KIP-848 groups, quotas, ACLs and SASL are not.
var versions = map[int16]span{
	int16(kmsg.Produce):              {3, 13},
	int16(kmsg.Fetch):                {4, 17},
	int16(kmsg.ListOffsets):          {1, 8},
	int16(kmsg.Metadata):             {0, 13},
	int16(kmsg.ApiVersions):          {0, 4},
	int16(kmsg.CreateTopics):         {2, 7},
	int16(kmsg.OffsetForLeaderEpoch): {2, 4},
}

// announcedFrom is the least version announced of produce: clients of librdkafka
// look for old ones, and never use them (KAFKA-18659).
const announcedProduce = 0

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
	return resp
}

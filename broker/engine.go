package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const minSession = 100 * time.Millisecond

// brokerConfigs are the settings that differ from Apache Kafka's: here one
// machine keeps everything until it is told otherwise.
func brokerConfigs() map[string]string {
	return map[string]string{
		"log.retention.ms": "-1",
		// Group offsets do not expire: a laptop is switched off for weeks.
		"offsets.retention.minutes": strconv.Itoa(math.MaxInt32),
	}
}

// versions are the protocol versions offered. Apache Kafka's Java clients fail
// on null arrays that kfake answers from these versions on; with the older ones
// (for descriptions: Metadata) they work.
func versions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.CreateTopics), 4)
	v.SetMaxKeyVersion(int16(kmsg.DescribeTopicPartitions), -1)
	return v
}

// foldGroupTypes makes the types that Kafka's own tools ask for ("Classic")
// known to kfake, which compares them with "classic" by case.
func foldGroupTypes(req kmsg.Request) (kmsg.Response, error, bool) {
	types := req.(*kmsg.ListGroupsRequest).TypesFilter
	for i := range types {
		types[i] = strings.ToLower(types[i])
	}
	return nil, nil, false
}

// logger passes kfake's log on. Its Info level speaks of single requests.
type logger struct{ l *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	lv := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		lv = slog.LevelError
	case kfake.LogLevelWarn:
		lv = slog.LevelWarn
	}
	ctx := context.Background()
	if l.l.Enabled(ctx, lv) {
		l.l.Log(ctx, lv, "broker engine", "detail", fmt.Sprintf(format, args...))
	}
}

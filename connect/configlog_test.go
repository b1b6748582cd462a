package connect

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The expected bytes are those of Apache Kafka Connect 4.3.1 for the same
// requests, but for the order of properties, which Java leaves to a hash map
// and which is sorted here.
func TestConfigRecordsAreKafkas(t *testing.T) {
	config := map[string]string{"connector.class": "FileStreamSink", "topics": "t1", "file": "/tmp/<a>&b", "name": "s1"}
	tests := []struct{ key, value string }{
		{"connector-s1", `{"properties":{"connector.class":"FileStreamSink","file":"/tmp/<a>&b","name":"s1","topics":"t1"}}`},
		{"task-s1-0", `{"properties":{"connector.class":"FileStreamSink","file":"/tmp/<a>&b","name":"s1","task.class":"org.apache.kafka.connect.file.FileStreamSinkTask","topics":"t1"}}`},
		{"task-s1-1", `{"properties":{"connector.class":"FileStreamSink","file":"/tmp/<a>&b","name":"s1","task.class":"org.apache.kafka.connect.file.FileStreamSinkTask","topics":"t1"}}`},
		{"commit-s1", `{"tasks":2}`},
		{"target-state-s1", `{"state":"PAUSED","state.v2":"PAUSED"}`},
		{"target-state-s1", `{"state":"STARTED","state.v2":"STARTED"}`},
		{"target-state-s1", `{"state":"PAUSED","state.v2":"STOPPED"}`},
		{"restart-connector-s1", `{"include-tasks":true,"only-failed":false}`},
	}
	got := append(taskRecords("s1", "org.apache.kafka.connect.file.FileStreamSinkTask", config, 2),
		targetRecord("s1", Paused), targetRecord("s1", Started), targetRecord("s1", Stopped),
		configRecord(restartPrefix+"s1", restartRequest{IncludeTasks: true}))
	got = append([]*kgoRecord{connectorRecord("s1", config)}, got...)
	if len(got) != len(tests) {
		t.Fatalf("%d records, want %d", len(got), len(tests))
	}
	for i, tt := range tests {
		if string(got[i].Key) != tt.key || string(got[i].Value) != tt.value {
			t.Errorf("record %d is %s %s\nwant %s %s", i, got[i].Key, got[i].Value, tt.key, tt.value)
		}
	}
}

func TestConfigLogReadsKafkas(t *testing.T) {
	type rec struct{ key, value string }
	const null = "\x00"
	s4 := entry{config: map[string]string{"connector.class": "FileStreamSink", "topics": "t1", "name": "s4"}, target: Stopped}
	tests := []struct {
		name string
		in   []rec
		want map[string]entry
	}{
		// As Kafka Connect 4.3.1 wrote them.
		{"state before configuration", []rec{
			{"session-key", `{"key":"lAZRAtWBQBKetPEhVEqgKZgktMc0bSSfsf64p6uhKwY=","algorithm":"HmacSHA256","creation-timestamp":1795252461191}`},
			{"target-state-s4", `{"state":"PAUSED","state.v2":"STOPPED"}`},
			{"connector-s4", `{"properties":{"connector.class":"FileStreamSink","topics":"t1","name":"s4"}}`},
			{"task-s4-0", `{"properties":{}}`}, {"commit-s4", `{"tasks":1}`},
		}, map[string]entry{"s4": s4}},
		{"before Kafka 3.5", []rec{{"connector-a", `{"properties":{"x":null,"y":"1"}}`}, {"target-state-a", `{"state":"PAUSED"}`}},
			map[string]entry{"a": {config: map[string]string{"y": "1"}, target: Paused}}},
		{"removed", []rec{{"connector-a", `{"properties":{}}`}, {"connector-a", null}, {"target-state-a", null}}, map[string]entry{}},
		{"created again begins started", []rec{{"connector-a", `{"properties":{}}`}, {"target-state-a", `{"state":"PAUSED","state.v2":"PAUSED"}`},
			{"connector-a", null}, {"target-state-a", null}, {"connector-a", `{"properties":{}}`}},
			map[string]entry{"a": {config: map[string]string{}, target: Started}}},
		{"nonsense changes nothing", []rec{{"connector-a", `{"properties":{}}`}, {"connector-a", `{`}, {"target-state-a", `{"state":"ODD"}`}, {"odd", "x"}},
			map[string]entry{"a": {config: map[string]string{}, target: Started}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &configLog{entries: make(map[string]entry)}
			for _, r := range tt.in {
				value := []byte(r.value)
				if r.value == null {
					value = nil
				}
				_, _, _ = l.record(r.key, value) // errors are logged and change nothing, which is looked at below
			}
			got := make(map[string]entry)
			for name, e := range l.entries {
				if e.config != nil {
					got[name] = e
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

func FuzzConfigRecord(f *testing.F) {
	f.Add("connector-a", []byte(`{"properties":{"x":null,"y":"1"}}`))
	f.Add("target-state-a", []byte(`{"state":"PAUSED","state.v2":"STOPPED"}`))
	f.Add("restart-connector-a", []byte(`{"include-tasks":true}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		l := &configLog{entries: make(map[string]entry)}
		name, _, err := l.record(key, value)
		if err != nil || name == "" {
			return
		}
		e := l.entries[name]
		if e.config == nil {
			return
		}
		// What was accepted is written as it was understood.
		again := &configLog{entries: make(map[string]entry)}
		r := connectorRecord(name, e.config)
		if _, _, err := again.record(string(r.Key), r.Value); err != nil {
			t.Fatal(err)
		}
		if len(again.entries[name].config) != len(e.config) {
			t.Fatalf("%v became %v", e.config, again.entries[name].config)
		}
	})
}

// TestConfigLogWaitsForItsTopic: one that was just created is not known to the
// broker that is asked for its end.
func TestConfigLogWaitsForItsTopic(t *testing.T) {
	c, kafka := newCluster(t, 1)
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownTopicOrPartition, Count: 20})
	l, err := openConfigLog(t.Context(), Config{Kafka: kafka, ConfigTopic: "connect-configs", ReplicationFactor: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	if fault.Hits() < 20 {
		t.Errorf("%d of 20 faults struck", fault.Hits())
	}
}

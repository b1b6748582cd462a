package server

import (
	"maps"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestCodesAreCounted: whatever depth of an answer a refusal stands at, it is
// counted under its request's and its own name, and what is granted is not.
func TestCodesAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	produced := kmsg.NewPtrProduceResponse()
	produced.Topics = []kmsg.ProduceResponseTopic{
		{Partitions: []kmsg.ProduceResponseTopicPartition{{ErrorCode: kerr.NotLeaderForPartition.Code}, {}}},
		{Partitions: []kmsg.ProduceResponseTopicPartition{{ErrorCode: kerr.NotLeaderForPartition.Code}, {ErrorCode: kerr.CorruptMessage.Code}}},
	}
	fetched := kmsg.NewPtrFetchResponse()
	fetched.ErrorCode = kerr.FetchSessionIDNotFound.Code
	ended := kmsg.NewPtrEndTxnResponse()
	for _, resp := range []kmsg.Response{produced, fetched, ended} {
		m.refused(resp)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "comptoir_broker_errors_total" {
			continue
		}
		for _, sample := range f.GetMetric() {
			labels := sample.GetLabel()
			got[labels[0].GetValue()+" "+labels[1].GetValue()] = sample.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"Produce NOT_LEADER_FOR_PARTITION": 2, "Produce CORRUPT_MESSAGE": 1, "Fetch FETCH_SESSION_ID_NOT_FOUND": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if name := codeName(32000); name == "" {
		t.Error("a code that nobody knows has no name")
	}
}

// TestCodesAreFound: each kind of answer has a place for a code that is found.
func TestCodesAreFound(t *testing.T) {
	for key := range versions {
		resp := kmsg.RequestForKey(key).ResponseKind()
		found := false
		refuseAll(reflect.ValueOf(resp).Elem())
		eachCode(resp, func(int16) { found = true })
		if !found {
			t.Errorf("no error code is found in an answer to %s", kmsg.NameForKey(key))
		}
	}
}

// refuseAll puts one element into every list of an answer, and an error into each.
func refuseAll(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case !f.CanSet():
		case v.Type().Field(i).Name == "ErrorCode":
			f.SetInt(1)
		case f.Kind() == reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			refuseAll(f.Index(0))
		default:
			refuseAll(f)
		}
	}
}

func BenchmarkCodesOfFetch(b *testing.B) {
	resp := kmsg.NewPtrFetchResponse()
	for range 10 {
		resp.Topics = append(resp.Topics, kmsg.FetchResponseTopic{Partitions: make([]kmsg.FetchResponseTopicPartition, 3)})
	}
	b.ReportAllocs()
	for range b.N {
		eachCode(resp, func(int16) { b.Fatal("a code") })
	}
}

package clean

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	retained   prometheus.Counter
	passes     prometheus.Counter
	read       prometheus.Counter
	freed      prometheus.Counter
	dropped    prometheus.Counter
	failures   prometheus.Counter
	unreadable prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "comptoir_broker_clean_" + name, Help: help})
	}
	m := &metrics{
		retained:   counter("deleted_bytes_total", "Bytes of record batches deleted by age or size."),
		passes:     counter("passes_total", "Passes of compaction that came to their end."),
		read:       counter("read_bytes_total", "Bytes of record batches that compaction has read."),
		freed:      counter("freed_bytes_total", "Bytes of record batches that compaction has made go."),
		dropped:    counter("dropped_records_total", "Records that compaction has made go."),
		failures:   counter("failures_total", "Partitions whose cleaning failed, once for each round."),
		unreadable: counter("unreadable_batches_total", "Record batches that compaction left as they are because it cannot read their records."),
	}
	if reg != nil {
		reg.MustRegister(m.retained, m.passes, m.read, m.freed, m.dropped, m.failures, m.unreadable)
	}
	return m
}

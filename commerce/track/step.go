package track

import (
	"context"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/commerce/orderdb"
)

// A tracker that is behind would read a piece of one topic after the other. An
// order's records, which were written within some tenths of a second, would come
// in as many batches as there are topics, of which each reads and writes the
// order anew. So it then reads by slices of time: a partition that has come to
// the end of the slice waits for the others, and a slice is a batch.

const (
	// behindRecords is how many records there are to read for a tracker to be
	// behind.
	behindRecords = 10_000
	// A slice is made longer if it takes fewer bytes than leastSlice, and shorter
	// if it takes more than mostSlice.
	leastSlice, mostSlice = batchBytes / 4, batchBytes / 2
	firstSlice            = time.Second
	shortestSlice         = 100 * time.Millisecond
	longestSlice          = time.Hour
	// slicePatience is how long others wait for a partition that gives nothing.
	slicePatience = time.Second
	// lastFetch is how long a slice waits for partitions of which it is not known
	// that they have more.
	lastFetch = 10 * time.Millisecond
	// stepBytes is how much is fetched of a partition at a time: it may go so far
	// beyond the slice.
	stepBytes = 128 << 10
)

// step says which partitions wait. It belongs to the session's goroutine.
type step struct {
	end    int64 // of the slice, in milliseconds; 0 if there is none
	length time.Duration
	// done says that the slice is read.
	done bool
	held map[orderdb.Partition]bool
}

// place is how far a partition is.
type place struct {
	at    int64     // the time of the last record read, in milliseconds
	end   int64     // where its log ended when it was last heard of
	heard time.Time // when that was, or when it was let go
}

// unread is how many records the log is known to have more.
func (p *openPartition) unread() int64 { return max(0, p.end-p.read.Load()) }

// hear notes what a fetch gave of a partition.
func (s *step) hear(p *place, ftp *kgo.FetchTopicPartition) {
	p.heard, p.end = time.Now(), ftp.LastStableOffset
	if p.end < 0 {
		p.end = ftp.HighWatermark
	}
	// A record may say any time.
	p.at = min(max(ftp.Records[len(ftp.Records)-1].Timestamp.UnixMilli(), 0), p.heard.UnixMilli())
}

// look says which of the partitions shall be fetched no longer, and which again.
func (s *step) look(open map[orderdb.Partition]*openPartition) (stop, resume map[string][]int32) {
	var unread int64
	first := int64(math.MaxInt64) // of those that wait or give something
	for tp, p := range open {
		if n := p.unread(); n > 0 {
			unread += n
			if s.held[tp] || time.Since(p.heard) < slicePatience {
				first = min(first, p.at)
			}
		}
	}
	if s.end == 0 && unread >= behindRecords && first < math.MaxInt64 {
		s.end = first + s.length.Milliseconds()
	}
	held := make(map[orderdb.Partition]bool)
	s.done = s.end > 0
	for tp, p := range open {
		switch {
		case s.end == 0 || p.unread() == 0:
		case p.at >= s.end:
			held[tp] = true
			if !s.held[tp] {
				stop = add(stop, tp)
			}
			continue
		case time.Since(p.heard) < slicePatience:
			s.done = false
		}
		if s.held[tp] {
			resume = add(resume, tp)
			p.heard = time.Now()
		}
	}
	for tp := range s.held {
		if open[tp] == nil {
			resume = add(resume, tp)
		}
	}
	s.held = held
	return stop, resume
}

// listen begins the patience with all partitions anew, after a time in which none
// was listened to.
func listen(open map[orderdb.Partition]*openPartition) {
	for _, p := range open {
		p.heard = time.Now()
	}
}

// next ends the slice, whose last batch took size bytes.
func (s *step) next(size int) {
	switch {
	case size > mostSlice:
		s.length = max(s.length/2, shortestSlice)
	case size < leastSlice:
		s.length = min(2*s.length, longestSlice)
	}
	s.end, s.done = 0, false
}

func add(to map[string][]int32, tp orderdb.Partition) map[string][]int32 {
	if to == nil {
		to = make(map[string][]int32)
	}
	to[tp.Topic] = append(to[tp.Topic], tp.Partition)
	return to
}

// fetch waits for records and takes some of those that have come: if they are
// many, the stages may press soon. In a slice it takes all but one: the client
// fetches more only when it has given all, and that shall be what keepStep says.
func (s *session) fetch(ctx context.Context) kgo.Fetches {
	if s.step.end == 0 {
		return s.cl.PollRecords(ctx, pollRecords)
	}
	got := s.cl.PollRecords(ctx, int(max(1, s.cl.BufferedFetchRecords()-1)))
	if more := s.cl.BufferedFetchRecords(); more > 1 {
		got = append(got, s.cl.PollRecords(atOnce, int(more-1))...)
	}
	return got
}

// rest takes what fetch has left.
func (s *session) rest() kgo.Fetches {
	if more := s.cl.BufferedFetchRecords(); s.step.end > 0 && more > 0 {
		return s.cl.PollRecords(atOnce, int(more))
	}
	return nil
}

// atOnce has a poll not wait.
var atOnce context.Context

// keepStep has the client fetch those partitions that shall not wait.
func (s *session) keepStep() {
	s.mu.Lock()
	stop, resume := s.step.look(s.open)
	s.mu.Unlock()
	if stop != nil {
		s.cl.PauseFetchPartitions(stop)
	}
	if resume != nil {
		s.cl.ResumeFetchPartitions(resume)
	}
}

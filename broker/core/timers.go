package core

import (
	"container/heap"
	"time"
)

// timers is what is due by the clock, soonest first. The zero value is empty.
type timers struct{ heap timerHeap }

// timer is one thing that will be done. Who waits for something that is put off
// often (a session, at each heartbeat) looks at its own deadline when the timer
// runs, and sets a new one: putting off then costs nothing.
type timer struct {
	at    time.Time
	do    func()
	index int // in the heap; -1 when it is not there
}

// set makes do run at the given time.
func (t *timers) set(at time.Time, do func()) *timer {
	n := &timer{at: at, do: do}
	heap.Push(&t.heap, n)
	return n
}

// stop takes a timer out; nil and one that has run are fine.
func (t *timers) stop(n *timer) {
	if n != nil && n.index >= 0 {
		heap.Remove(&t.heap, n.index)
	}
}

// run does everything that is due.
func (t *timers) run(now time.Time) {
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		n := heap.Pop(&t.heap).(*timer)
		n.do()
	}
}

func (t *timers) due() (time.Time, bool) {
	if len(t.heap) == 0 {
		return time.Time{}, false
	}
	return t.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	n := x.(*timer)
	n.index = len(*h)
	*h = append(*h, n)
}
func (h *timerHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	n.index = -1
	return n
}

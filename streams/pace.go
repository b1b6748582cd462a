package streams

import "time"

// pace says how long a commit waits for more records. A worker that commits as
// soon as its input is dry is quick while there is little to do, and drowns in
// small transactions when there is much: each costs the same however few records
// it holds. So transactions have an allowance: a share of the time that passes,
// saved up to a burst. What is left of it goes at once; without, the next one
// waits until it is earned. The cost of a transaction is measured, so this fits a
// broker in the process and a cluster far away alike. What a broker takes to
// answer that the transaction has ended is not counted: it waits for its disk
// then, or for other brokers.
type pace struct {
	credit time.Duration
	at     time.Time
	waited time.Duration // for the end of the commit under way, as Kafka's answer
	last   time.Duration // what the last commit took
}

const (
	// paceShare is the part of the time that transactions may take before they
	// are spaced: a quarter.
	paceShare = 4
	// paceBurst is the most that can be saved: some ten small transactions on a
	// cluster, enough for the hops of an order through one stage.
	paceBurst = 20 * time.Millisecond
	// lingerShare and lingerMost bound what is waited for one more fetch.
	lingerShare = 8
	lingerMost  = 3 * time.Millisecond
)

// linger is how long a commit may wait for what came while the one before was
// under way: little beside what it would wait for its own.
func (p *pace) linger() time.Duration { return min(p.last/lingerShare, lingerMost) }

func (p *pace) earn(now time.Time) {
	if p.at.IsZero() {
		p.credit = paceBurst
	} else {
		p.credit = min(p.credit+now.Sub(p.at)/paceShare, paceBurst)
	}
	p.at = now
}

// spent tells of a transaction from its commit's start to its end, and how many
// workers' it was: each has an allowance.
func (p *pace) spent(start, end time.Time, workers int) {
	p.last = end.Sub(start)
	p.earn(end)
	// Debts do not pile up: one slow commit is no reason to be slow after it.
	p.credit = max(p.credit-(end.Sub(start)-p.waited)/time.Duration(workers), -paceBurst)
}

// wait returns how long the next commit is to wait, at most limit.
func (p *pace) wait(now time.Time, limit time.Duration) time.Duration {
	p.earn(now)
	return max(0, min(-p.credit*paceShare, limit))
}

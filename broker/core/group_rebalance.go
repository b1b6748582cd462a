package core

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A generation of a group comes about in two steps. First all members join
// (Preparing): whoever was a member and does not join in time is out. Then the
// leader shares out the work (Completing): every member asks for its share, and
// gets it when the leader has come with all of them.

// initialWait is how long the first members of a group wait for others that have
// been given an id; as long as Kafka's wait for whoever may come.
const initialWait = 3 * time.Second

// rebalance begins a new generation: all members are to join again.
func (m *Machine) rebalance(g *group) {
	if g.state == groupCompleting {
		// Who waits for a share of the last generation gets none.
		for _, mb := range g.members {
			m.assign(mb, nil)
			if mb.sync != nil {
				m.keepAlive(g, mb, mb.session)
			}
			m.refuseSync(mb, kerr.RebalanceInProgress)
		}
	}
	m.stopSync(g)
	wait := g.rebalanceTimeout()
	if g.state == groupEmpty {
		// Nobody has to finish work first: only those are awaited who have got
		// an id and are about to come.
		wait = min(wait, initialWait)
	}
	g.state = groupPreparing
	if !m.complete(g) {
		m.awaitJoins(g, wait)
	}
}

// awaitJoins ends the wait for members after a while.
func (m *Machine) awaitJoins(g *group, wait time.Duration) {
	m.timers.stop(g.joinTimer)
	g.joinTimer = m.timers.set(m.now.Add(wait), func() {
		g.joinTimer = nil
		m.finishJoin(g)
	})
}

func (m *Machine) stopSync(g *group) {
	m.timers.stop(g.syncTimer)
	g.syncTimer = nil
	for _, mb := range g.members {
		mb.unsynced = false
	}
}

// joined looks whether the group is complete now: a member has come, or one is
// not awaited any more.
func (m *Machine) joined(g *group) {
	if g.state == groupPreparing {
		m.complete(g)
	}
}

// left goes on without a member.
func (m *Machine) left(g *group) {
	switch g.state {
	case groupStable, groupCompleting:
		m.rebalance(g)
	case groupPreparing:
		m.complete(g)
	}
}

// complete ends the wait for members if all have joined. It reports whether it did.
func (m *Machine) complete(g *group) bool {
	if g.waiting != len(g.members) || len(g.named) > 0 {
		return false
	}
	m.finishJoin(g)
	return true
}

// finishJoin begins the next generation with those who have joined.
func (m *Machine) finishJoin(g *group) {
	m.timers.stop(g.joinTimer)
	g.joinTimer = nil
	var gone []*member
	for _, mb := range g.members {
		// A static member may be away for a while: only its session's end
		// makes it leave.
		if mb.join == nil && mb.instance == nil {
			gone = append(gone, mb)
		}
	}
	for _, mb := range gone {
		m.log.Info("group member did not rejoin in time", "group", g.name, "member", mb.id)
		m.removeMember(g, mb)
	}
	if len(g.members) > 0 && !g.elect() {
		// Static members only, and all of them away: wait until they come or
		// their sessions end.
		m.awaitJoins(g, g.rebalanceTimeout())
		return
	}
	g.generation++
	m.saveGeneration(g)
	if len(g.members) == 0 {
		g.state, g.protocol = groupEmpty, ""
		m.log.Info("group is empty", "group", g.name, "generation", g.generation)
		m.lingerGroup(g)
		return
	}
	g.state, g.protocol = groupCompleting, g.choose()
	m.log.Info("group has a new generation", "group", g.name, "generation", g.generation,
		"members", len(g.members), "protocol", g.protocol)
	for _, mb := range g.members {
		mb.unsynced = true
		mb.fresh = false
		m.keepAlive(g, mb, mb.session)
	}
	for _, mb := range g.members {
		if mb.join != nil {
			m.answerJoin(g, mb, generationFor(g, mb, mb.join.Body.(*kmsg.JoinGroupRequest), mb == g.leader))
		}
	}
	m.awaitSyncs(g)
}

// elect makes sure that the leader is one of those who have joined. It reports
// whether there is any.
func (g *group) elect() bool {
	if g.leader.join != nil {
		return true
	}
	for _, mb := range g.members {
		if mb.join != nil {
			g.leader = mb
			return true
		}
	}
	return false
}

// awaitSyncs takes those out who do not ask for their share in time.
func (m *Machine) awaitSyncs(g *group) {
	m.timers.stop(g.syncTimer)
	g.syncTimer = m.timers.set(m.now.Add(g.rebalanceTimeout()), func() {
		g.syncTimer = nil
		var gone []*member
		for _, mb := range g.members {
			if mb.unsynced {
				gone = append(gone, mb)
			}
		}
		for _, mb := range gone {
			m.log.Info("group member did not ask for its share in time", "group", g.name, "member", mb.id)
			m.removeMember(g, mb)
		}
		m.rebalance(g)
	})
}

// synced notes that a member has asked for its share.
func (m *Machine) synced(g *group, mb *member) {
	mb.unsynced = false
	for _, o := range g.members {
		if o.unsynced {
			return
		}
	}
	m.timers.stop(g.syncTimer)
	g.syncTimer = nil
}

// shareOut gives every member its share, and the generation is complete.
func (m *Machine) shareOut(g *group, assignments []kmsg.SyncGroupRequestGroupAssignment) {
	shares := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		shares[a.MemberID] = bytes.Clone(a.MemberAssignment)
	}
	g.state = groupStable
	for _, mb := range g.members {
		m.assign(mb, shares[mb.id])
		if mb.sync != nil {
			m.keepAlive(g, mb, mb.session)
			m.unpark(mb.sync)
			m.relaxed(mb.sync, shareFor(g, mb, mb.sync.Body.(*kmsg.SyncGroupRequest)))
			mb.sync = nil
		}
	}
}

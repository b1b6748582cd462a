package crash

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

// asleep is how long a sleeper sleeps: longer than the session of 10 s.
func (a *attempt) asleep() time.Duration { return a.between(11*time.Second, 13*time.Second) }

// load begins the orders of a cell and returns when the fault is due. They go on
// until verify has seen everything well again.
func (r *round) load(a *attempt) *load {
	r.t.Helper()
	a.log.Copies = r.copies()
	f := r.need()
	a.log.Time = time.Now().UTC() // what the fleet took to start is no cell's
	var bases []*atomic.Pointer[string]
	for _, in := range f.members {
		bases = append(bases, &in.base)
	}
	l := r.begin(a, f.kafka.Addr, bases, false)
	l.reach(a)
	r.pass(a.between(0, 200*time.Millisecond)) // not always at the same point of a commit
	l.under()
	return l
}

// instanceFaults are those of an instance.
func instanceFaults(i int) map[string]func(*round, *attempt) {
	return map[string]func(*round, *attempt){
		"kill": func(r *round, a *attempt) {
			l := r.load(a)
			in := r.fleet.members[i]
			in.Kill()
			if a.rng.IntN(2) == 0 {
				a.note("it comes back when others have its work")
				r.pass(a.asleep())
				r.t.Logf("orders go on after another %v", r.fleet.goesOn())
			} else {
				a.note("it comes back at once")
			}
			in.start()
			r.verify(a, l)
		},
		"term": func(r *round, a *attempt) {
			l := r.load(a)
			in := r.fleet.members[i]
			if took, code := in.Stop(syscall.SIGTERM, time.Minute); code != 0 {
				r.t.Errorf("after SIGTERM it ended with %d in %v", code, took)
			}
			r.fleet.goesOn() // the others have its work
			in.start()
			r.verify(a, l)
		},
		"restart": func(r *round, a *attempt) {
			l := r.load(a)
			in := r.fleet.members[i]
			if took, code := in.Stop(syscall.SIGTERM, time.Minute); code != 0 {
				r.t.Errorf("after SIGTERM it ended with %d in %v", code, took)
			}
			in.start()
			r.verify(a, l)
		},
		"stop": func(r *round, a *attempt) {
			l := r.load(a)
			in := r.fleet.members[i]
			before := fencings(in)
			r.signal(in.PID(), syscall.SIGSTOP)
			asleep := a.asleep()
			r.pass(asleep)
			took := r.fleet.goesOn() // without it
			r.signal(in.PID(), syscall.SIGCONT)
			a.note("asleep for %.1f s", (asleep + took).Seconds())
			r.fenced(a, in, before)
			r.verify(a, l)
		},
		"disk": func(r *round, a *attempt) {
			l := r.load(a)
			in := r.fleet.members[i]
			if in.disk == nil {
				a.leaveOut("mounting a small disk is not permitted")
				r.verify(a, l)
				return
			}
			in.disk.Fill()
			select {
			case <-in.Ended():
			case <-time.After(a.between(3*time.Second, 6*time.Second)):
			}
			in.disk.Free()
			r.afterFullDisk(a, in)
			r.verify(a, l)
		},
	}
}

// afterFullDisk starts an instance anew if it has ended for want of room.
func (r *round) afterFullDisk(a *attempt, in *instance) {
	r.t.Helper()
	select {
	case <-in.Ended():
		a.note("it ended")
		if out := in.Output(); !strings.Contains(out, "no space left") {
			r.t.Errorf("it ended without saying that there is no space left: %s", clip(out[max(0, len(out)-2000):]))
		}
		in.start()
	default:
		a.note("it went on")
	}
}

// fencings counts what an instance says when work is taken from it.
func fencings(in *instance) int {
	out := in.Output()
	return strings.Count(out, "transaction thrown away") + strings.Count(out, "out of the group")
}

// fenced asserts that a sleeper that woke up was kept from going on: it threw
// away what it had begun, or was told that it is out of the group.
func (r *round) fenced(a *attempt, in *instance, before int) {
	r.t.Helper()
	program.Until(r.t, patience, "the sleeper is fenced", func() error {
		if a.log.Fenced = fencings(in) - before; a.log.Fenced == 0 {
			return errors.New("it neither threw a transaction away nor left a group")
		}
		return nil
	})
	in.well()
	a.log.Fenced = fencings(in) - before
	thrown, err := sum(in.Process, "comptoir_stage_transactions_total{", `outcome="aborted"`)
	if err != nil {
		r.t.Error(err)
	}
	unknown, err := sum(in.Process, "comptoir_stage_transactions_total{", `outcome="unknown"`)
	if err != nil {
		r.t.Error(err)
	}
	lost, err := sum(in.Process, "comptoir_stage_rebalances_total{", `kind="lost"`)
	if err != nil {
		r.t.Error(err)
	}
	a.note("its metrics: %v transactions aborted, %v unknown, %v assignments lost", thrown, unknown, lost)
	if thrown+unknown+lost == 0 {
		r.t.Error("its metrics show no transaction thrown away and no assignment lost")
	}
}

func (r *round) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatalf("%v: %v", s, err)
	}
}

// noFaults is the cell without one, to compare with.
func noFaults() map[string]func(*round, *attempt) {
	return map[string]func(*round, *attempt){
		"none": func(r *round, a *attempt) {
			l := r.load(a)
			r.pass(5 * time.Second)
			r.verify(a, l)
		},
	}
}

// brokerFaults are those of a node of Kafka. The other two carry the work.
func brokerFaults(n int) map[string]func(*round, *attempt) {
	away := func(end func(*testenv.Server)) func(*round, *attempt) {
		return func(r *round, a *attempt) {
			l := r.load(a)
			node := r.fleet.kafka.Nodes[n]
			begun := time.Now()
			end(node)
			r.fleet.goesOn()
			a.note("orders went on after %.1f s", time.Since(begun).Seconds())
			r.pass(a.between(0, 3*time.Second))
			node.Start()
			r.verify(a, l)
		}
	}
	return map[string]func(*round, *attempt){
		"kill": away((*testenv.Server).Kill),
		"term": away((*testenv.Server).Stop),
		"restart": func(r *round, a *attempt) {
			l := r.load(a)
			r.fleet.kafka.Nodes[n].Stop()
			r.fleet.kafka.Nodes[n].Start()
			r.verify(a, l)
		},
		"stop": func(r *round, a *attempt) {
			l := r.load(a)
			node := r.fleet.kafka.Nodes[n]
			begun := time.Now()
			node.Pause()
			r.pass(a.asleep())
			r.fleet.goesOn()
			a.note("asleep for %.1f s", time.Since(begun).Seconds())
			node.Resume()
			r.verify(a, l)
		},
		"disk": func(r *round, a *attempt) {
			l := r.load(a)
			node := r.fleet.kafka.Nodes[n]
			if node.Disk == nil {
				a.leaveOut("mounting a small disk is not permitted")
				r.verify(a, l)
				return
			}
			node.Disk.Fill()
			begun := time.Now()
			r.fleet.goesOn()
			for node.Running() && time.Since(begun) < 10*time.Second {
				r.pass(100 * time.Millisecond)
			}
			if node.Running() {
				a.note("the node still ran after %.0f s", time.Since(begun).Seconds())
				node.Kill()
			}
			node.Disk.Free()
			node.Start()
			r.verify(a, l)
		},
	}
}

// postgresFaults are those of PostgreSQL, which holds order database and archive.
func postgresFaults() map[string]func(*round, *attempt) {
	away := func(end func(*testenv.Server), least, most time.Duration) func(*round, *attempt) {
		return func(r *round, a *attempt) {
			l := r.load(a)
			end(r.fleet.postgres)
			r.pass(a.between(least, most))
			r.fleet.postgres.Start()
			r.verify(a, l)
		}
	}
	return map[string]func(*round, *attempt){
		"kill":    away((*testenv.Server).Kill, 0, 6*time.Second),
		"term":    away((*testenv.Server).Stop, 3*time.Second, 8*time.Second),
		"restart": away((*testenv.Server).Stop, 0, time.Millisecond),
		"stop": func(r *round, a *attempt) {
			l := r.load(a)
			r.fleet.postgres.Pause()
			r.pass(a.asleep())
			r.fleet.goesOn() // orders by Kafka need no database
			r.fleet.postgres.Resume()
			r.verify(a, l)
		},
		"disk": func(r *round, a *attempt) {
			l := r.load(a)
			p := r.fleet.postgres
			if p.Disk == nil {
				a.leaveOut("mounting a small disk is not permitted")
				r.verify(a, l)
				return
			}
			p.Disk.Fill()
			begun := time.Now()
			for p.Running() && time.Since(begun) < 5*time.Second {
				r.pass(100 * time.Millisecond)
			}
			p.Disk.Free()
			if p.Running() {
				a.note("PostgreSQL went on")
			} else {
				a.note("PostgreSQL ended after %.1f s", time.Since(begun).Seconds())
				p.Start()
			}
			r.verify(a, l)
		},
	}
}

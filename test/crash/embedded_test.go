package crash

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/comptoir/comptoir/test/invariants"
	"github.com/comptoir/comptoir/test/orders"
	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

// embedded is a `comptoir up`.
type embedded struct {
	*program.Process
	r    *round
	disk *testenv.Disk
	base atomic.Pointer[string]
	load *load
	cfg  *checked
	args []string
}

// embed starts one on a folder of its own, and orders for it.
func (r *round) embed(a *attempt, d time.Duration) *embedded {
	r.t.Helper()
	base := orders.Generate(orders.Config{Seed: 0, Orders: 1000})
	dir := filepath.Join(r.t.TempDir(), "data")
	e := &embedded{r: r, disk: testenv.NewDisk(r.t, dir, 512), args: []string{"--catalogue", program.Catalogue(r.t, base)}}
	e.Process = program.Up(r.t, dir, e.args...)
	e.args = append(e.args, "--kafka", e.Endpoints.Kafka) // clients come back there
	e.cfg = &checked{cfg: invariants.Config{Brokers: e.Endpoints.Kafka, Archive: e.Endpoints.Archive}, database: e.Endpoints.Database}
	program.Supply(r.t, e.cfg.cfg, base)
	e.base.Store(&e.Endpoints.HTTP)
	a.log.Time = time.Now().UTC()
	e.load = r.begin(a, d, e.Endpoints.Kafka, []*atomic.Pointer[string]{&e.base})
	e.load.reach(a, .1, .5)
	r.pass(a.between(0, 200*time.Millisecond))
	e.load.under()
	return e
}

// again starts it on the same folder and at the same address of Kafka.
func (e *embedded) again() {
	e.r.t.Helper()
	e.Process = program.Up(e.r.t, e.Dir, e.args...)
	e.base.Store(&e.Endpoints.HTTP)
}

// verify ends the cell. What is known not to be promised is counted, not failed.
func (e *embedded) verify(a *attempt, promised bool) {
	r := e.r
	r.t.Helper()
	answers, err := e.load.end()
	if err != nil && promised {
		r.t.Fatal(err)
	}
	if err != nil {
		a.note("not promised: %.200s", err)
	} else {
		program.Until(r.t, patience, "well", func() error { return e.Health("/readyz") })
		program.Until(r.t, patience, "the outbox is empty", func() error { return drained(e.Process) })
		e.cfg.add(e.load, answers)
		a.log.Orders = len(e.load.kafka.Orders) + len(e.load.requests)
		complaints, err := e.cfg.complaints(r.t.Context(), a)
		switch {
		case promised && err != nil:
			r.t.Fatal(err)
		case promised:
			r.complain(complaints)
			r.audit(a, "--data-dir", e.Dir)
		case err != nil:
			a.note("not promised: %.200s", err)
		default:
			a.note("%d complaints; nothing is promised", len(complaints))
		}
	}
	e.Stop(syscall.SIGTERM, time.Minute)
}

// embeddedFaults are those of `comptoir up`. A kill and a full disk are survived
// and counted: its broker does not promise more yet.
func embeddedFaults() map[string]func(*round, *attempt) {
	return map[string]func(*round, *attempt){
		"kill": func(r *round, a *attempt) {
			e := r.embed(a, shortLoad)
			e.Kill()
			e.again()
			e.verify(a, false)
		},
		"term": func(r *round, a *attempt) {
			e := r.embed(a, shortLoad)
			if took, code := e.Stop(syscall.SIGTERM, time.Minute); code != 0 {
				r.t.Errorf("after SIGTERM it ended with %d in %v", code, took)
			}
			r.pass(a.between(time.Second, 5*time.Second))
			e.again()
			e.verify(a, true)
		},
		"restart": func(r *round, a *attempt) {
			e := r.embed(a, shortLoad)
			e.Stop(syscall.SIGINT, time.Minute)
			e.again()
			e.verify(a, true)
		},
		"stop": func(r *round, a *attempt) {
			e := r.embed(a, shortLoad)
			r.signal(e.PID(), syscall.SIGSTOP)
			r.pass(a.asleep())
			r.signal(e.PID(), syscall.SIGCONT)
			e.verify(a, true)
		},
		"disk": func(r *round, a *attempt) {
			e := r.embed(a, shortLoad)
			if e.disk == nil {
				a.leaveOut("mounting a small disk is not permitted")
				e.verify(a, true)
				return
			}
			e.disk.Fill()
			select {
			case <-e.Ended():
			case <-time.After(a.between(3*time.Second, 6*time.Second)):
			}
			e.disk.Free()
			select {
			case <-e.Ended():
				a.note("it ended")
				if !strings.Contains(e.Output(), "no space left") {
					r.t.Error("it ended without saying that there is no space left")
				}
				e.again()
			default:
				a.note("it went on")
			}
			e.verify(a, false)
		},
	}
}

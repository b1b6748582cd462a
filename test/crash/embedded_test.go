package crash

import (
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/comptoir/comptoir/test/httporders"
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
func (r *round) embed(a *attempt) *embedded {
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
	e.load = r.begin(a, e.Endpoints.Kafka, []*atomic.Pointer[string]{&e.base}, true)
	e.load.reach(a)
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

// verify ends the cell.
func (e *embedded) verify(a *attempt) []httporders.Answer {
	r := e.r
	r.t.Helper()
	before := e.load.sent.Load()
	program.Until(r.t, patience, "orders by Kafka go on", func() error {
		if e.load.sent.Load() < before+byKafka/2 {
			return errors.New("nothing is acknowledged")
		}
		return nil
	})
	program.Until(r.t, patience, "well", func() error { return e.Health("/readyz") })
	answers, err := e.load.end()
	if err != nil {
		r.t.Fatal(err)
	}
	program.Until(r.t, patience, "the outbox is empty", func() error { return drained(e.Process) })
	e.kept(answers)
	e.cfg.add(e.load, answers)
	a.log.Orders = len(e.load.kafka.Orders) + len(e.load.requests)
	complaints, err := e.cfg.complaints(r.t.Context(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	r.complain(complaints)
	r.audit(a, "--data-dir", e.Dir)
	e.Stop(syscall.SIGTERM, time.Minute)
	return answers
}

// kept asserts that every order that was answered 201 can be asked for.
func (e *embedded) kept(answers []httporders.Answer) {
	e.r.t.Helper()
	for _, answer := range answers {
		if answer.Status != http.StatusCreated {
			continue
		}
		status, body, err := e.Get(e.Endpoints.HTTP + "/commandes/" + url.PathEscape(answer.ID))
		if err != nil || status != http.StatusOK {
			e.r.t.Errorf("order %q was answered 201, and now %d, %v: %s", answer.ID, status, err, body)
		}
	}
}

// embeddedFaults are those of `comptoir up`, its broker included.
func embeddedFaults() map[string]func(*round, *attempt) {
	return map[string]func(*round, *attempt){
		"kill": func(r *round, a *attempt) {
			e := r.embed(a)
			e.Kill()
			e.again()
			e.verify(a)
		},
		"term": func(r *round, a *attempt) {
			e := r.embed(a)
			if took, code := e.Stop(syscall.SIGTERM, time.Minute); code != 0 {
				r.t.Errorf("after SIGTERM it ended with %d in %v", code, took)
			}
			r.pass(a.between(time.Second, 5*time.Second))
			e.again()
			e.verify(a)
		},
		"restart": func(r *round, a *attempt) {
			e := r.embed(a)
			e.Stop(syscall.SIGINT, time.Minute)
			e.again()
			e.verify(a)
		},
		"stop": func(r *round, a *attempt) {
			e := r.embed(a)
			r.signal(e.PID(), syscall.SIGSTOP)
			r.pass(a.asleep())
			r.signal(e.PID(), syscall.SIGCONT)
			e.verify(a)
		},
		"disk": func(r *round, a *attempt) {
			e := r.embed(a)
			if e.disk == nil {
				a.leaveOut("mounting a small disk is not permitted")
				e.verify(a)
				return
			}
			crossed := e.crossed()
			e.disk.Fill()
			select {
			case <-e.Ended():
			case <-time.After(a.between(3*time.Second, 6*time.Second)):
			}
			e.disk.Free()
			a.note("notifications.clients was at %d", crossed)
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
			answers := e.verify(a)
			refused := 0
			for _, answer := range answers {
				refused += answer.Unavailable
			}
			a.note("%d refused with 503, %d not acknowledged", refused, e.load.doubtful)
			if refused+e.load.doubtful == 0 {
				r.t.Error("nobody was told that the disk was full")
			}
		},
	}
}

// crossed returns once orders of the load have come to their end, and how many.
func (e *embedded) crossed() (n int64) {
	e.r.t.Helper()
	program.Until(e.r.t, patience, "orders cross", func() (err error) {
		if n, err = program.Progress(e.r.t.Context(), e.Endpoints.Kafka, "notifications.clients"); err == nil && n == 0 {
			err = errors.New("no notification yet")
		}
		return err
	})
	return n
}

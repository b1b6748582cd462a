package crash

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/test/program"
	"github.com/comptoir/comptoir/test/testenv"
)

// whole returns once nothing is missing: every replica is in sync, every
// instance is well and has work, and every task's state its copies.
func (f *fleet) whole() {
	f.t.Helper()
	f.until("every replica is in sync", f.inSync)
	for i, in := range f.members {
		in.well()
		f.until(fmt.Sprintf("serve-%d has tasks", i+1), func() error {
			n, err := sum(in.Process, "comptoir_stage_tasks{")
			if err == nil && n == 0 {
				err = fmt.Errorf("none")
			}
			return err
		})
	}
	f.until("every task's state has its copies", f.copied)
}

// copied tells whether others keep the copies of each task's state that they are to
// keep, and do read what they are made of.
func (f *fleet) copied() error {
	var tasks, copies float64
	for i, in := range f.members {
		own, err := sum(in.Process, "comptoir_stage_tasks{")
		if err != nil {
			return err
		}
		kept, err := sum(in.Process, "comptoir_stage_standby_tasks{")
		if err != nil {
			return err
		}
		read, err := sum(in.Process, "comptoir_stage_standby_records_total{")
		if err != nil {
			return err
		}
		if kept > 0 && read == 0 {
			return fmt.Errorf("serve-%d has read nothing for its %v copies", i+1, kept)
		}
		tasks, copies = tasks+own, copies+kept
	}
	if copies != tasks*float64(f.copies) {
		return fmt.Errorf("%v copies of the state of %v tasks, not %d of each", copies, tasks, f.copies)
	}
	return nil
}

func (f *fleet) inSync() error {
	topics, err := f.admin.ListTopicsWithInternal(f.t.Context())
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if topic.Err != nil {
			return topic.Err
		}
		for _, p := range topic.Partitions {
			if len(p.ISR) < testenv.Nodes {
				return fmt.Errorf("%s[%d] has %v in sync", topic.Topic, p.Partition, p.ISR)
			}
		}
	}
	return nil
}

// notified is how far notifications.clients has come.
func (f *fleet) notified() (n int64, err error) {
	ends, err := f.admin.ListEndOffsets(f.t.Context(), "notifications.clients")
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, err
}

// goesOn returns once customers hear of something that was not finished yet.
func (f *fleet) goesOn() time.Duration {
	f.t.Helper()
	begun, before := time.Now(), int64(-1)
	f.until("orders go on", func() error {
		now, err := f.notified()
		switch {
		case err != nil:
			return err
		case before < 0:
			before = now
		}
		if now <= before {
			return fmt.Errorf("notifications.clients is still at %d", now)
		}
		return nil
	})
	return time.Since(begun)
}

// until waits for a condition of the deployment. Unlike program.Until it looks a
// few times a second, since each look costs the brokers what the orders need.
func (f *fleet) until(what string, condition func() error) {
	f.t.Helper()
	var last time.Time
	err := errors.New("not looked yet")
	program.Until(f.t, patience, what, func() error {
		if time.Since(last) >= 200*time.Millisecond {
			err = condition()
			last = time.Now()
		}
		return err
	})
}

// sum adds up the samples of /metrics whose line begins with prefix and holds
// all of the texts.
func sum(p *program.Process, prefix string, holding ...string) (total float64, err error) {
	status, body, err := p.Get(p.Endpoints.HTTP + "/metrics")
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("/metrics answers %d", status)
	}
	found := false
lines:
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, prefix)
		if !ok {
			continue
		}
		found = true
		for _, text := range holding {
			if !strings.Contains(rest, text) {
				continue lines
			}
		}
		fields := strings.Fields(rest)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, err
		}
		total += value
	}
	if !found {
		return 0, fmt.Errorf("/metrics has no %s", prefix)
	}
	return total, nil
}

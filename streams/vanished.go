package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/internal/kclient"
)

// An instance that dies leaves transactions open, and every reader of committed
// records waits before them until Kafka gives them up: after the transaction's
// time-out, at the next of its looks, which are ten seconds apart by default.
// The tasks of the dead wait longest, since their changelogs and offsets end
// with such a transaction. So whoever is given tasks asks Kafka for the
// application's open transactions, and ends those of instances that the group
// has dropped.
//
// Kafka is asked rather than the group: it knows what is open and whose it is,
// also after a leader has died with what it knew, and of instances of any
// version. Nothing depends on it but the wait: what is not ended here ends by
// its time-out.

const (
	// vanishedTries is how often is asked when an answer fails, as it does while
	// a broker is away, and vanishedPause how long is waited in between.
	vanishedTries = 20
	vanishedPause = 500 * time.Millisecond
)

// endVanished ends the transactions of vanished instances each time that tasks
// are taken over, until ctx ends.
func (w *worker) endVanished(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.takenOver:
		}
		for try := 1; ; try++ {
			err := w.endVanishedOnce(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			if try == vanishedTries {
				w.log.Warn("transactions of instances that are gone stay open until they time out", "err", err)
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(vanishedPause):
			}
		}
	}
}

// endVanishedOnce ends the transactions that vanished instances have open now.
func (w *worker) endVanishedOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.SessionTimeout)
	defer cancel()
	adm := kadm.NewClient(w.fetch)
	// First what is open, then who is there: one that joins and begins in
	// between is not taken for gone.
	open, err := adm.ListTransactions(ctx, nil, []string{"Ongoing"})
	if errors.Is(err, kerr.UnsupportedVersion) {
		return nil
	}
	// With a broker away there are the answers of the others.
	failed := err
	candidates := ofInstances(w.top.app, open)
	if len(candidates) == 0 {
		return failed
	}
	members, err := groupInstances(ctx, adm, w.top.app)
	if err != nil {
		return errors.Join(failed, err)
	}
	if !members[w.app.instance()] {
		// We are out of the group, or the coordinator has no answer for a group
		// of its kind: then nobody counts as gone.
		return failed
	}
	for id, instance := range candidates {
		if members[instance] {
			continue
		}
		if err := kclient.EndHanging(ctx, w.fetch, w.app.hanging(id), w.log); err != nil {
			failed = errors.Join(failed, fmt.Errorf("end the open transaction of %s, whose instance is gone: %w", id, err))
			continue
		}
		w.metrics.vanished.WithLabelValues(w.top.app).Inc()
		w.log.Warn("open transaction of an instance that is gone ended", "transactional_id", id)
	}
	return failed
}

// hanging says to kclient.EndHanging what a transactional id of ours writes to.
func (a *App) hanging(id string) kclient.Hanging {
	h := kclient.Hanging{ID: id}
	for _, top := range a.line() {
		h.Topics = append(append(h.Topics, top.Outputs()...), top.InternalTopics()...)
		h.Groups = append(h.Groups, top.app)
	}
	return h
}

// ofInstances returns the transactional ids that are of an application, with the
// instances that they belong to. See worker.transactionalID.
func ofInstances(app string, listed kadm.ListedTransactions) map[string]string {
	ids := map[string]string{}
	for id := range listed {
		of, ok := strings.CutPrefix(id, app+"-")
		if !ok || len(of) < 2 || of[len(of)-2:] != "-0" && of[len(of)-2:] != "-1" {
			continue
		}
		if of = of[:len(of)-2]; len(of) == 36 && uuid.Validate(of) == nil {
			ids[id] = app + "-" + of
		}
	}
	return ids
}

// groupInstances returns the instances that are members of a group.
func groupInstances(ctx context.Context, adm *kadm.Client, group string) (map[string]bool, error) {
	described, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = described.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", group, err)
	}
	members := map[string]bool{}
	for _, m := range described[group].Members {
		if m.InstanceID != nil {
			members[*m.InstanceID] = true
		}
	}
	return members, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	// leaveLimit is how long the tasks of a deleted connector may take to leave
	// its group: other workers hear of the deletion later than the one asked.
	leaveLimit = 5 * time.Second
	// leavePause is the time between two tries.
	leavePause = 100 * time.Millisecond
)

// deleteConnectorGroups deletes the consumer groups of connectors that are gone:
// nobody commits to them any more, so that their lag only grows. Where that
// cannot be done it says what to do; the connectors are deleted all the same.
func (a *app) deleteConnectorGroups(ctx context.Context, names []string) {
	if len(names) == 0 {
		return
	}
	groups := make([]string, len(names))
	for i, n := range names {
		groups[i] = "connect-" + n
	}
	if !a.knowsClusterOfConnect() {
		for _, g := range groups {
			fmt.Fprintf(a.err, "The consumer group stays: `comptoir group delete %s --yes` deletes it.\n", g)
		}
		return
	}
	err := a.admin(ctx, func(adm *kadm.Client) error {
		ctx, cancel := context.WithTimeout(ctx, leaveLimit)
		defer cancel()
		for _, g := range groups {
			if err := deleteLeftGroup(ctx, adm, g); err != nil {
				fmt.Fprintf(a.err, "warning: group %q stays (%v): `comptoir group delete %s --yes` deletes it\n", g, err, g)
			}
		}
		return nil
	})
	if err != nil {
		fmt.Fprintf(a.err, "warning: the connectors are gone, their groups stay: %v\n", err)
	}
}

// knowsClusterOfConnect tells whether the brokers in use are those behind the
// Connect REST API in use: a group of the same name in another cluster is not
// ours to delete.
func (a *app) knowsClusterOfConnect() bool {
	connectGiven := a.connect != "" || a.getenv(connectTarget.env) != ""
	brokersGiven := len(a.brokers) > 0 || a.getenv(kafkaTarget.env) != ""
	return brokersGiven || !connectGiven
}

// deleteLeftGroup deletes a group once its members have left. One that does not
// exist is fine.
func deleteLeftGroup(ctx context.Context, adm *kadm.Client, group string) error {
	for {
		resp, err := adm.DeleteGroups(ctx, group)
		if err == nil {
			err = resp[group].Err
		}
		switch {
		case err == nil, errors.Is(err, kerr.GroupIDNotFound):
			return nil
		case !errors.Is(err, kerr.NonEmptyGroup):
			return err
		}
		if !lifecycle.Sleep(ctx, leavePause) {
			return err
		}
	}
}

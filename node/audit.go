package node

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/comptoir/comptoir/commerce/audit"
	"github.com/comptoir/comptoir/internal/web"
)

// startAudit begins the audit. It goes on whatever happens, and stops nothing.
func (n *Node) startAudit(ctx context.Context) (err error) {
	if n.audit, err = n.auditor(); err != nil {
		return err
	}
	return n.audit.Start(ctx)
}

func (n *Node) stopAudit(ctx context.Context) error {
	if n.audit == nil {
		return nil
	}
	return n.audit.Stop(ctx)
}

// auditHealth is an error if nothing is audited. What was found violated is past:
// no restart and no other instance heals it, it stays, and the process works as
// before. So it is told and changes nothing.
func (n *Node) auditHealth() error {
	if err := n.audit.Health(); err != nil {
		return err
	}
	if broken := n.audit.Violated(); len(broken) > 0 {
		return web.Notice("violated: " + strings.Join(broken, ", ") + ": comptoir audit shows where")
	}
	return nil
}

// auditor prepares the audit of what all instances do. It reads and writes
// nothing but its own folder.
func (n *Node) auditor() (*audit.Follower, error) {
	zone, err := time.LoadLocation(n.cfg.Facturation.Fuseau)
	if err != nil {
		return nil, err
	}
	cfg := audit.FollowerConfig{
		Config: audit.Config{
			Kafka: n.kafka, Dir: filepath.Join(n.cfg.DataDir, "audit"), Limit: time.Duration(n.cfg.Audit.Delai), Share: n.cfg.Audit.Part,
			Zone: zone, Logger: n.log, Registerer: n.registry, Yield: n.load.High,
		},
		DatabaseAt: n.orderDatabase(), ArchiveTable: n.cfg.Audit.Table,
	}
	cfg.Kafka.ClientID = "comptoir-audit"
	switch {
	case n.cfg.Audit.Archive != "":
		cfg.ArchiveAt = func() string { return n.cfg.Audit.Archive }
	case n.embedded && n.connect != nil:
		// The user may take its connector away.
		cfg.ArchiveAt = func() string {
			if !n.hasArchive() {
				return ""
			}
			return n.endpoints.Archive
		}
	}
	return audit.NewFollower(cfg), nil
}

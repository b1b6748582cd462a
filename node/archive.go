package node

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	_ "modernc.org/sqlite" // the embedded archive

	"github.com/comptoir/comptoir/commerce/event"
	"github.com/comptoir/comptoir/connect"
)

// archiveConnector is the connector that archives the invoices of an embedded
// node; it is made at the first start and is the user's to change after.
const archiveConnector = "archive"

// startArchive makes the embedded archive's connector, unless it exists.
func (n *Node) startArchive(ctx context.Context) error {
	path := filepath.Join(n.cfg.DataDir, "archive.db")
	n.endpoints.Archive = path
	if n.hasArchive() {
		return nil
	}
	_, err := n.connect.Put(ctx, archiveConnector, map[string]string{
		"connector.class": "JdbcSink",
		"connection.url":  archiveURL(n.cfg.DataDir),
		"topics":          event.TopicInvoices,
		"auto.create":     "true",
		"insert.mode":     "insert",
	})
	if err != nil {
		return fmt.Errorf("archive connector: %w", err)
	}
	return nil
}

// hasArchive says whether the archive's connector is there.
func (n *Node) hasArchive() bool {
	return slices.ContainsFunc(n.connect.Status(), func(c connect.ConnectorStatus) bool { return c.Name == archiveConnector })
}

// Archived counts the rows of the embedded archive that hold the given invoices.
func (n *Node) Archived(ctx context.Context, numbers []string) (int, error) {
	db, err := sql.Open("sqlite", "file:"+n.endpoints.Archive+"?mode=ro&_pragma=busy_timeout(1000)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var exists bool
	err = db.QueryRowContext(ctx, `SELECT count(*) > 0 FROM sqlite_master WHERE name = 'factures_ecommerce'`).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		return 0, err
	}
	var rows int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM factures_ecommerce WHERE numero IN (SELECT value FROM json_each(?))`, string(list)).Scan(&rows)
	return rows, err
}

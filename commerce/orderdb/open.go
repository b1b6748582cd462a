package orderdb

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultShards is the number of shards of a new database's outbox.
const DefaultShards = 4

// Config says where the order database is.
type Config struct {
	// URL is a file path for SQLite, or postgres://… or postgresql://… for
	// PostgreSQL 15 or later. The file is made if it is missing, a PostgreSQL
	// database must exist; in it everything stands in the schema comptoir.
	URL string
	// Shards is the number of shards of the outbox if the database is new:
	// DefaultShards if 0. It bounds how many instances relay at the same time,
	// and does not change later.
	Shards int
	// Logger hears of connections lost and found. Defaults to none.
	Logger *slog.Logger
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// Open opens an order database, makes it if it is new, and brings an older one
// up to date; several instances may do so at once. The error says what to do,
// and never has the password. It is ErrUnavailable if trying again may help.
func Open(ctx context.Context, cfg Config) (DB, error) {
	if cfg.Shards == 0 {
		cfg.Shards = DefaultShards
	}
	if cfg.Shards < 0 || cfg.Shards > 1024 {
		return nil, fmt.Errorf("the outbox cannot have %d shards: 1 to 1024", cfg.Shards)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if strings.HasPrefix(cfg.URL, "postgres://") || strings.HasPrefix(cfg.URL, "postgresql://") {
		return openPostgres(ctx, cfg)
	}
	if cfg.URL == "" || strings.Contains(cfg.URL, "://") {
		return nil, fmt.Errorf("--database must be a file path or start with postgres://")
	}
	return openSQLite(ctx, cfg)
}

//go:embed migrations
var migrationFiles embed.FS

// migrations returns the steps of a kind of database in order: the first makes
// version 1.
func migrations(kind string) (steps []string) {
	files, err := fs.Glob(migrationFiles, "migrations/"+kind+"/*.sql")
	if err != nil {
		panic(err) // the pattern is ours
	}
	for _, name := range files { // sorted
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		steps = append(steps, string(text))
	}
	return steps
}

// errNewer refuses a database that a later comptoir has changed.
func errNewer(what string, version, known int) error {
	return fmt.Errorf("%s is of version %d, this program knows up to %d: use the newer comptoir that made it", what, version, known)
}

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// homeFile holds the path at which the data directory was last used. The archive's
// connector has that path in its configuration: a copy, or a folder that was moved,
// must not go on writing where the original was.
const homeFile = "home"

func readHome(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, homeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(string(b), "\n"), err
}

// writeHome writes the file in one step.
func writeHome(dir, home string) error {
	name := filepath.Join(dir, homeFile)
	if err := errors.Join(os.WriteFile(name+".new", []byte(home+"\n"), 0o644), syncFile(name+".new"), os.Rename(name+".new", name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// moving takes the archive along with its folder.
type moving struct {
	from, to string // folders; from is empty if it has not moved

	mu     sync.Mutex
	config map[string]string // of the archive's connector, if the last one was changed
}

func (n *Node) moved() (*moving, error) {
	home, err := readHome(n.cfg.DataDir)
	if err != nil || home == n.cfg.DataDir {
		return &moving{}, err
	}
	return &moving{from: home, to: n.cfg.DataDir}, nil
}

// adapt changes the configuration of the archive's connector before that starts,
// unless the user had it write elsewhere. It sees older ones, too: the last counts.
func (m *moving) adapt(name string, config map[string]string) map[string]string {
	const key = "connection.url"
	if m.from == "" || name != archiveConnector {
		return config
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config = nil
	if config[key] != archiveURL(m.from) {
		return config
	}
	config = maps.Clone(config)
	config[key] = archiveURL(m.to)
	m.config = config
	return config
}

// settle makes the change last.
func (m *moving) settle(ctx context.Context, n *Node) error {
	m.mu.Lock()
	config := m.config
	m.mu.Unlock()
	if config != nil && n.hasArchive() {
		if _, err := n.connect.Put(ctx, archiveConnector, config); err != nil {
			return fmt.Errorf("archive connector: %w", err)
		}
		n.log.Info("the data directory has moved, and the archive with it", "from", m.from, "to", m.to)
	}
	if home, err := readHome(n.cfg.DataDir); err != nil || home == n.cfg.DataDir {
		return err
	}
	return writeHome(n.cfg.DataDir, n.cfg.DataDir)
}

func archiveURL(dir string) string { return "jdbc:sqlite:" + filepath.Join(dir, "archive.db") }

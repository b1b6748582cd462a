package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run has a node work on a folder while f looks at it.
func run(t *testing.T, dir string, f func(*Node)) {
	t.Helper()
	cfg := freePorts(t)
	cfg.DataDir = dir
	n, err := NewEmbedded(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	f(n)
	if err := n.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// TestArchiveMovesAlong: a folder that was moved, and a copy beside the original,
// archive into their own file, for good; a connector that the user has changed
// stays as it is.
func TestArchiveMovesAlong(t *testing.T) {
	root := t.TempDir()
	archive := func(n *Node) string { return get(t, n.Endpoints().Connect+"/connectors/archive/config") }
	in := func(dir string) func(*Node) {
		return func(n *Node) {
			if config := archive(n); !strings.Contains(config, `"jdbc:sqlite:`+dir+`/archive.db"`) {
				t.Errorf("in %s the archive is %s", dir, config)
			}
		}
	}
	one, two, three := filepath.Join(root, "one"), filepath.Join(root, "two"), filepath.Join(root, "three")
	run(t, one, in(one))
	if err := os.Rename(one, two); err != nil {
		t.Fatal(err)
	}
	run(t, two, func(n *Node) {
		in(two)(n)
		if b, err := MakeBackup(t.Context(), two, three); err != nil || !b.Running {
			t.Errorf("%+v, %v", b, err)
		}
	})
	run(t, three, in(three))
	run(t, three, in(three)) // also when nothing is to be moved any more
	run(t, three, func(n *Node) {
		config := map[string]string{"connector.class": "JdbcSink", "connection.url": "jdbc:sqlite:" + root + "/own.db", "topics": "factures.ecommerce", "auto.create": "true"}
		if _, err := n.connect.Put(t.Context(), archiveConnector, config); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.Rename(three, one); err != nil {
		t.Fatal(err)
	}
	run(t, one, func(n *Node) {
		if config := archive(n); !strings.Contains(config, root+"/own.db") {
			t.Errorf("the user's archive became %s", config)
		}
	})
}

// A socket that a killed process has left is replaced; where the path is too long
// for one the node works without.
func TestControlSocket(t *testing.T) {
	dir := t.TempDir()
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, ControlSocket)})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := dialControl(t.Context(), dir); err == nil {
		t.Error("somebody answers")
	}
	run(t, dir, func(*Node) {
		conn, err := dialControl(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(filepath.Join(dir, ControlSocket))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
	if _, err := os.Stat(filepath.Join(dir, ControlSocket)); err == nil {
		t.Error("the socket is still there")
	}
	long := filepath.Join(dir, strings.Repeat("x", longestSocket))
	run(t, long, func(*Node) {
		if _, err := MakeBackup(t.Context(), long, filepath.Join(dir, "copy")); err == nil || !strings.Contains(err.Error(), "stop it first") {
			t.Errorf("a backup without a socket: %v", err)
		}
	})
}

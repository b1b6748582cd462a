package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/comptoir/comptoir/internal/web"
)

// ControlSocket stands in the data directory while an embedded node runs on it:
// HTTP over a socket that only its user may open. By it a process is asked for
// what it alone can do.
const ControlSocket = "control.sock"

// longestSocket is what every system takes as the path of a socket.
const longestSocket = 103

// maxControlRequest bounds the body of a request.
const maxControlRequest = 64 << 10

// startControl listens at the control socket. One that a killed process has left
// is replaced. A path that is too long for a socket is no reason not to start.
func (n *Node) startControl(ctx context.Context) error {
	ln, err := listenControl(n.cfg.DataDir)
	if errors.Is(err, errLongPath) {
		n.log.Warn("no control socket: a running process cannot be asked for a backup", "dir", n.cfg.DataDir, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", n.serveBackup)
	n.control = web.NewServer(web.ServerConfig{Listener: ln, Handler: mux, Logger: n.log})
	return n.control.Start(ctx)
}

func (n *Node) stopControl(ctx context.Context) error {
	if n.control == nil {
		return nil
	}
	// First, so that nobody finds a socket that does not answer.
	return errors.Join(os.Remove(filepath.Join(n.cfg.DataDir, ControlSocket)), n.control.Stop(ctx))
}

var errLongPath = fmt.Errorf("the path is longer than a socket's may be, %d bytes", longestSocket)

// listenControl makes the socket in a folder that nobody else may enter and moves
// it to its place when only its user may open it.
func listenControl(dir string) (net.Listener, error) {
	private := filepath.Join(dir, "control.new")
	made := filepath.Join(private, "s")
	if len(made) > longestSocket {
		return nil, errLongPath
	}
	if err := os.RemoveAll(private); err != nil {
		return nil, err
	}
	if err := os.Mkdir(private, 0o700); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: made})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // it is not there any more
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, filepath.Join(dir, ControlSocket))
	}
	if err = errors.Join(err, os.RemoveAll(private)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return controlListener{ln, &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, ControlSocket)}}, nil
}

// controlListener says where the socket is, not where it was made.
type controlListener struct {
	net.Listener
	addr net.Addr
}

func (l controlListener) Addr() net.Addr { return l.addr }

type backupRequest struct {
	Target string `json:"target"`
}

func (n *Node) serveBackup(w http.ResponseWriter, r *http.Request) {
	var req backupRequest
	// To its end: until then the time for its arrival runs.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlRequest))
	if err != nil || json.Unmarshal(body, &req) != nil || !filepath.IsAbs(req.Target) {
		http.Error(w, "the target is no absolute path", http.StatusBadRequest)
		return
	}
	// It takes as long as it takes.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b, err := copyNode(r.Context(), n.cfg.DataDir, req.Target, n.broker)
	if err != nil {
		n.log.Error("backup failed", "target", req.Target, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b.Running = true
	n.log.Info("backup made", "target", b.Target, "bytes", b.Bytes)
	web.WriteJSON(w, http.StatusOK, b)
}

// dialControl connects to the process that runs on dir; the error is
// fs.ErrNotExist if there is none, or none that can be asked.
func dialControl(ctx context.Context, dir string) (net.Conn, error) {
	path := filepath.Join(dir, ControlSocket)
	if len(path) > longestSocket {
		return nil, fs.ErrNotExist
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if refused(err) {
		return nil, fs.ErrNotExist // a killed process has left it
	}
	return conn, err
}

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// EndpointsFile stands in the data directory while a process runs on it.
const EndpointsFile = "endpoints.json"

// Endpoints are the addresses in use, for commands and scripts that talk to a
// running process.
type Endpoints struct {
	// HTTP is the order API's URL.
	HTTP string `json:"http,omitempty"`
	// Kafka is the bootstrap address, host:port.
	Kafka string `json:"kafka,omitempty"`
	// Connect is the URL of the Kafka Connect REST API.
	Connect string `json:"connect,omitempty"`
	// Database and Archive are absolute paths, or URLs without password.
	Database string `json:"database,omitempty"`
	Archive  string `json:"archive,omitempty"`
	// PID is the process.
	PID int `json:"pid"`
}

// ReadEndpoints reads dir's file. If there is none the error is fs.ErrNotExist.
func ReadEndpoints(dir string) (Endpoints, error) {
	var e Endpoints
	name := filepath.Join(dir, EndpointsFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("read %s: %w", name, err)
	}
	return e, nil
}

// WriteEndpoints writes dir's file in one step, so that a reader sees it whole.
func WriteEndpoints(dir string, e Endpoints) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, EndpointsFile)
	tmp := name + ".new"
	if err := errors.Join(os.WriteFile(tmp, append(b, '\n'), 0o644), os.Rename(tmp, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

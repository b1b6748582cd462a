package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Nodes is how many nodes a Cluster has, and Links how many listeners for
// clients of their own each of them has.
const (
	Nodes = 3
	Links = 3
)

// Cluster is a real Apache Kafka of three nodes of one test's own: topics have
// three replicas, of which two must be in sync.
//
// Beside its address each node has Links more listeners. What it tells clients of
// a link to connect to is not the listener but the port that Link names, where
// the test must run a proxy before it hands the link out.
type Cluster struct {
	// Addr are the three addresses, host:port,host:port,host:port.
	Addr string
	// Nodes are the nodes; each may be stopped, killed, paused and started again.
	Nodes [Nodes]*Server

	port int
}

// StartCluster starts the nodes and returns when all of them answer.
func StartCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	script := filepath.Join(scripts(t), "kafka")
	dir, err := os.MkdirTemp("", "comptoir-cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs of the cluster are kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	c := &Cluster{port: freeRow(t, 5*Nodes)}
	for i := range c.Nodes {
		c.Nodes[i] = newServerIn(t, script, dir, fmt.Sprintf("kafka-%d", i+1), c.port+10*i, opts)
	}
	// A node answers only once two of them see each other.
	var (
		wait   sync.WaitGroup
		failed [Nodes]error
		addrs  [Nodes]string
	)
	for i, s := range c.Nodes {
		wait.Go(func() {
			s.Addr, failed[i] = s.try("start", s.dir, "--port", fmt.Sprint(c.port), "--node", fmt.Sprint(i+1))
			addrs[i] = s.Addr
		})
	}
	wait.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		t.Fatal(err)
	}
	c.Addr = strings.Join(addrs[:], ",")
	return c
}

// Link says where a proxy of a node's link (both from 0 on) must listen, and to
// where it must forward.
func (c *Cluster) Link(link, node int) (listen, target string) {
	port := c.port + 10*node + 2 + link
	return fmt.Sprintf("127.0.0.1:%d", port+Links), fmt.Sprintf("127.0.0.1:%d", port)
}

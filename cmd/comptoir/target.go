package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/node"
)

const defaultDataDir = "./comptoir-data"

// target is how one kind of address is found.
type target struct {
	flag, env string
	endpoint  func(node.Endpoints) string
	fallback  string
}

var (
	kafkaTarget   = target{"--brokers", "COMPTOIR_BROKERS", func(e node.Endpoints) string { return e.Kafka }, "127.0.0.1:9092"}
	apiTarget     = target{"--api", "COMPTOIR_API", func(e node.Endpoints) string { return e.HTTP }, "http://127.0.0.1:8080"}
	connectTarget = target{"--connect", "COMPTOIR_CONNECT", func(e node.Endpoints) string { return e.Connect }, "http://127.0.0.1:8083"}
)

func (a *app) dataDirFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.dataDir, "data-dir", "", "`DIR` of a running comptoir up, whose addresses are used (default "+defaultDataDir+")")
}

func (a *app) brokersFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringSliceVar(&a.brokers, "brokers", nil, "Kafka cluster, host:port,… (default: that of --data-dir, else "+kafkaTarget.fallback+")")
}

func (a *app) connectFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.connect, "connect", "", "`URL` of the Connect REST API (default: that of --data-dir, else "+connectTarget.fallback+")")
}

func (a *app) apiFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&a.api, "api", "", "`URL` of the order API (default: that of --data-dir, else "+apiTarget.fallback+")")
}

func (a *app) getenv(name string) string {
	for _, e := range a.environ {
		if k, v, ok := strings.Cut(e, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// resolve finds an address: flag, environment, endpoints.json of the data
// directory, default.
func (a *app) resolve(t target, flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	// Port 0 is a listener's wish for a free port, which no client can know.
	if v := a.getenv(t.env); v != "" && !strings.HasSuffix(v, ":0") {
		return v, nil
	}
	dir := a.dataDir
	if dir == "" {
		dir = a.getenv("COMPTOIR_DATA_DIR")
	}
	explicit := dir != ""
	if !explicit {
		dir = defaultDataDir
	}
	e, err := node.ReadEndpoints(dir)
	switch {
	case err == nil:
		if v := t.endpoint(e); v != "" {
			return v, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	case explicit:
		return "", failuref("nothing runs on %s (it has no endpoints.json): start it with `comptoir up --data-dir %s` or give %s", dir, dir, t.flag)
	}
	return t.fallback, nil
}

// url resolves an HTTP target; an address without scheme is http.
func (a *app) url(t target, flag string) (string, error) {
	v, err := a.resolve(t, flag)
	if err != nil {
		return "", err
	}
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	return strings.TrimRight(v, "/"), nil
}

// connectTimeout bounds the search for a cluster: a tool that hangs says
// nothing.
const connectTimeout = 5 * time.Second

// kafka opens a client and makes sure that a cluster answers.
func (a *app) kafka(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	list, err := a.resolve(kafkaTarget, strings.Join(a.brokers, ","))
	if err != nil {
		return nil, err
	}
	seeds := node.SplitList(list)
	for _, s := range seeds {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, usagef("broker %q is not host:port, such as %s", s, kafkaTarget.fallback)
		}
	}
	cl, err := kclient.Config{Brokers: seeds, ClientID: "comptoir-cli"}.New(opts...)
	if err != nil {
		return nil, err
	}
	pingCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := cl.Ping(pingCtx); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no Kafka at %s: start one with `comptoir up`, give --data-dir of one that runs, or --brokers (%w)", strings.Join(seeds, ","), err)
	}
	return cl, nil
}

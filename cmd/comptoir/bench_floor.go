package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/comptoir/comptoir/broker"
	"github.com/comptoir/comptoir/internal/bench"
	"github.com/comptoir/comptoir/internal/bench/floor"
	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/internal/web"
	"github.com/comptoir/comptoir/node"
)

// benchFloorCommand is the process that `bench --floor` starts: it is not for
// people.
func (a *app) benchFloorCommand() *cobra.Command {
	var dir, sync, prefix string
	cmd := &cobra.Command{
		Use:     "floor",
		Hidden:  true,
		Short:   "Run the floor of bench until it is stopped",
		Example: "  comptoir bench floor --data-dir floor --prefix bench-floor-",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.benchFloor(cmd.Context(), dir, sync, prefix) },
	}
	fl := cmd.Flags()
	fl.StringVar(&dir, "data-dir", "", "`DIR` of its state and addresses")
	fl.StringVar(&sync, "sync", string(broker.SyncCommit), "of its broker")
	fl.StringVar(&prefix, "prefix", "bench-floor-", "in front of its names in Kafka")
	fl.StringSliceVar(&a.brokers, "brokers", nil, "cluster to use instead of a broker of its own; what it creates there is removed at the end")
	must(cmd.MarkFlagRequired("data-dir"))
	return cmd
}

func (a *app) benchFloor(ctx context.Context, dir, sync, prefix string) (err error) {
	smallMemory()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cfg := floor.Config{Kafka: kclient.Config{Brokers: a.brokers}, Dir: filepath.Join(dir, "state"), Prefix: prefix}
	if len(a.brokers) == 0 {
		b, err := broker.Open(broker.Config{Dir: filepath.Join(dir, "broker"), Sync: broker.Sync(sync)})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		cfg.Kafka = kclient.Config{Brokers: []string{b.Addr()}, Dial: b.DialContext}
		cfg.ReplicationFactor = 1
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := web.Listen(ctx, "127.0.0.1:0", "--http")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends with Close
	}()
	defer func() { err = errors.Join(err, server.Close()); <-served }()
	f, err := floor.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if err := node.WriteEndpoints(dir, node.Endpoints{HTTP: "http://" + listener.Addr().String(), Kafka: cfg.Kafka.Brokers[0], PID: os.Getpid()}); err == nil {
		<-ctx.Done()
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveStopWithin)
	defer cancel()
	err = f.Stop(stop)
	if len(a.brokers) > 0 {
		err = errors.Join(err, removeFloor(stop, cfg))
	}
	return err
}

// removeFloor removes the topics and groups of a floor from a cluster.
func removeFloor(ctx context.Context, cfg floor.Config) error {
	cl, err := cfg.Kafka.New()
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	listed, err := adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	var topics, groups []string
	for _, name := range listed.Names() {
		if strings.HasPrefix(name, cfg.Prefix) {
			topics = append(topics, name)
		}
	}
	known, err := adm.ListGroups(ctx)
	if err != nil {
		return err
	}
	for _, name := range known.Groups() {
		if strings.HasPrefix(name, cfg.Prefix) {
			groups = append(groups, name)
		}
	}
	deleted, err := adm.DeleteTopics(ctx, topics...)
	if err == nil {
		err = deleted.Error()
	}
	gone, gerr := adm.DeleteGroups(ctx, groups...)
	if gerr == nil {
		gerr = gone.Error()
	}
	return errors.Join(err, gerr)
}

// startFloor starts the floor on a cluster or, without brokers, on a broker of
// its own.
func (s *benchProcesses) startFloor(ctx context.Context, dir string, brokers []string, sync string) (bench.Target, error) {
	prefix := "bench-floor-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
	args := []string{"bench", "floor", "--data-dir", dir, "--prefix", prefix}
	if len(brokers) > 0 {
		args = append(args, "--brokers", strings.Join(brokers, ","))
	} else {
		args = append(args, "--sync", sync)
	}
	if err := s.launch(ctx, args); err != nil {
		return bench.Target{}, err
	}
	t := s.target(brokers)
	t.Prefix, t.API, t.Kill, t.Heal = prefix, "", nil, nil
	return t, nil
}

package audit

import (
	"context"
	"errors"
	"time"
)

// Follow audits round after round until ctx ends, from where the last Follow on
// Config.Dir stood. Each new violation is logged as an error. done, if not nil,
// is called with the report after each round. What fails, as a broker that is
// away, is logged once and tried again in the next round; an error is returned only
// if trying again cannot help.
//
// What is missing is awaited from the beginning of Follow, or from the last
// round that failed, at least: while nothing ran, nothing could come.
func Follow(ctx context.Context, cfg Config, done func(Report)) error {
	src, err := newKafka(cfg.Kafka, cfg.Memory)
	if err != nil {
		return err
	}
	defer src.close()
	return follow(ctx, cfg, src, func(r Report, err error) {
		if done != nil && err == nil {
			done(r)
		}
	})
}

// errNotOurs says that another one follows now.
var errNotOurs = errors.New("another one audits")

// follow calls done after each round with what it found, or why it failed.
func follow(ctx context.Context, cfg Config, src source, done func(Report, error)) (err error) {
	cfg.defaults()
	if cfg.Dir == "" {
		return errors.New("following needs a folder to keep what was read")
	}
	s, err := openStore(cfg.Dir, cfg.Memory, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	e := newEngine(cfg, src, s)
	e.since = time.Now()
	e.m.begin(&s.meta.tally)
	tick := time.NewTicker(cfg.Every)
	defer tick.Stop()
	for failing := false; ; {
		var r Report
		err := cfg.held(ctx)
		if err == nil {
			err = e.round(ctx)
		}
		if err == nil {
			r, err = e.report()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errHistory), errors.Is(err, errStore), errors.Is(err, errNotOurs):
			return err
		case err != nil:
			if e.since = time.Now(); !failing {
				cfg.Logger.Warn("audit round failed, tried again", "error", err)
			}
		case failing:
			cfg.Logger.Info("audit works again")
		}
		failing = err != nil
		cfg.moved()
		done(r, err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

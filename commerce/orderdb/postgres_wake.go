package orderdb

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comptoir/comptoir/internal/lifecycle"
)

const (
	wakeChannel = "comptoir_outbox"
	// wakePause is the least time between two calls to other instances: each
	// costs the server a commit, and a lock that all share.
	wakePause = 20 * time.Millisecond
	// listenPause is the time between attempts to listen.
	listenPause = time.Second
)

// wake wakes readers here, and soon after those of other instances.
func (d *postgresDB) wake() {
	d.woken.wake()
	select {
	case d.tell <- struct{}{}:
	default:
	}
}

// alone says that nobody else relays, as far as is known: the one that was counted
// may be another, if it is not us.
func (d *postgresDB) alone() bool { return d.relays.Load() == 1 && d.session.holds() }

// notify tells other instances of new messages.
func (d *postgresDB) notify() {
	for {
		select {
		case <-d.closing.Done():
			return
		case <-d.tell:
		}
		if err := d.call(); err != nil {
			d.log.Debug("notify failed", "error", err)
		}
		lifecycle.Sleep(d.closing, wakePause)
	}
}

// call wakes the readers of other instances, if there are any. Nothing depends on
// it: they look by themselves too.
func (d *postgresDB) call() error {
	if d.alone() {
		return nil
	}
	ctx, cancel := context.WithTimeout(d.closing, readTime)
	defer cancel()
	_, err := d.pool.Exec(ctx, lazily+`, pg_notify($1, $2)`, wakeChannel, d.name)
	return err
}

// listen hears what other instances tell, on a connection of its own, until
// Close.
func (d *postgresDB) listen(cfg *pgx.ConnConfig) {
	for away := false; ; {
		err := d.hear(cfg, func() {
			if away {
				d.log.Info("listening to other instances again")
				away = false
				d.woken.wake() // something may have been missed
			}
		})
		if d.closing.Err() != nil {
			return
		}
		if !away {
			d.log.Warn("cannot listen to other instances: their messages are found a little later", "error", err)
			away = true
		}
		lifecycle.Sleep(d.closing, listenPause)
	}
}

func (d *postgresDB) hear(cfg *pgx.ConnConfig, ready func()) error {
	conn, err := pgx.ConnectConfig(d.closing, cfg)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), connectTime)
		defer cancel()
		_ = conn.Close(ctx) // it may be broken already
	}()
	if _, err := conn.Exec(d.closing, `LISTEN `+wakeChannel); err != nil {
		return err
	}
	ready()
	for {
		n, err := conn.WaitForNotification(d.closing)
		if err != nil {
			return err
		}
		if n.Payload != d.name {
			d.woken.wake()
		}
	}
}

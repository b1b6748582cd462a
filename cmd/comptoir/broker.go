package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/broker"
)

func (a *app) brokerCommand() *cobra.Command {
	return noun("broker", "Look after the data of the embedded broker", "", a.brokerVerifyCommand())
}

func (a *app) brokerVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every stored byte of a stopped broker",
		Long: `Reads all that the embedded broker keeps in DIR, the data directory of a
` + "`comptoir up`" + ` that is stopped, and checks it against its checksums: the journal,
every record batch and the index. Nothing is changed. What a crash or a power cut
left unfinished is no damage: the next start takes care of it.

Exit code 0: all is sound. 1: something is damaged (each damage with file and
offset), or cannot be read. 3: DIR has no broker.`,
		Example: `  comptoir broker verify comptoir-data
  comptoir broker verify /var/backups/comptoir -o json`,
		Args: exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.brokerVerify(cmd.Context(), args[0]) },
	}
}

// verified is what verify prints.
type verified struct {
	Dir     string   `json:"dir"`
	Files   int      `json:"files"` // of the journal
	Bytes   int64    `json:"bytes"`
	Damages []damage `json:"damages"`
}

type damage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Error  string `json:"error"`
}

func (a *app) brokerVerify(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	smallMemory()
	// It cannot be stopped halfway: who has it interrupted leaves it alone, since
	// it changes nothing.
	type outcome struct {
		verified
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		v, err := a.verify(dir)
		done <- outcome{v, err}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		return partialf("interrupted: not all was checked")
	}
	v, err := o.verified, o.err
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notFoundf("%s has no broker: give the data directory of a `comptoir up`", dir)
	case err != nil && len(v.Damages) == 0:
		return err
	}
	perr := a.print(v, func(w *tableWriter) {
		if len(v.Damages) > 0 {
			w.row("FILE", "OFFSET", "DAMAGE")
			for _, d := range v.Damages {
				w.row(d.File, d.Offset, d.Error)
			}
			return
		}
		w.line("the journal is sound: %s, %s read", plural(v.Files, "file"), megabytes(v.Bytes))
	})
	if err != nil && perr == nil {
		perr = failuref("%s in %s: stop using it and restore a backup", plural(len(v.Damages), "damage"), dir)
	}
	return perr
}

// verify tells on standard error how far it is, once a second.
func (a *app) verify(dir string) (verified, error) {
	v := verified{Dir: dir, Damages: []damage{}}
	told := time.Now()
	err := broker.Verify(dir, func(f broker.Finding) {
		if d := f.Damage; d != nil {
			v.Damages = append(v.Damages, damage{d.File, d.Offset, d.Err.Error()})
			return
		}
		v.Files, v.Bytes = v.Files+1, f.Bytes
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(a.err, "%s of %s\n", megabytes(f.Bytes), megabytes(f.Total))
		}
	})
	return v, err
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

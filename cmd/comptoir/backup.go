package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/comptoir/comptoir/node"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR TARGET",
		Short: "Copy the data of a shop, also while it runs",
		Long: `Copies DIR, the data directory of ` + "`comptoir up`" + `, to TARGET, which must not exist
yet or be empty: the broker with all topics, offsets and transactions, the order
database and the invoice archive. A running shop makes the copy itself and goes on
working; what is written after the command has begun may be missing in it. A
stopped one cannot be started meanwhile.

TARGET appears when the copy is whole and on the disk; until then it is a folder
beside it, named .TARGET.partial-…, which stays only after a kill. To restore, start from it:
` + "`comptoir up --data-dir TARGET`" + `, with the original stopped. Local state is not
copied but made anew from the topics, which takes the first start a while. Other
databases that connectors write to are not copied, and connectors to them go on
writing there.

Exit code 0: the copy is there. 1: it is not. 2: TARGET cannot be used. 3: DIR is
no data directory.`,
		Example: `  comptoir backup comptoir-data /var/backups/comptoir-$(date +%F)
  comptoir broker verify /var/backups/comptoir-$(date +%F)`,
		Args: exactly("DIR", "TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.backup(cmd.Context(), args[0], args[1]) },
	}
}

func (a *app) backup(ctx context.Context, dir, target string) error {
	b, err := node.MakeBackup(ctx, dir, target)
	switch {
	case errors.Is(err, node.ErrTarget):
		return usagef("%w", err)
	case errors.Is(err, node.ErrNoData):
		return notFoundf("%w", err)
	case err != nil:
		return err
	}
	return a.print(b, func(w *tableWriter) {
		how := "while it was stopped"
		if b.Running {
			how = "while it runs"
		}
		w.line("%s copied to %s %s: %s", relative(dir), relative(b.Target), how, megabytes(b.Bytes))
	})
}

package jdbc

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/comptoir/comptoir/connect"
)

// BenchmarkPut archives invoices of two lines in SQLite, 500 a batch, and says
// how much CPU one takes, its value's decoding included.
func BenchmarkPut(b *testing.B) {
	const each = 500
	config := map[string]string{"auto.create": "true", "pk.mode": "record_value", "pk.fields": "numero", "insert.mode": "insert",
		"connection.url": "jdbc:sqlite:" + filepath.Join(b.TempDir(), "archive.db")}
	s, err := newSink(connect.TaskContext{Connector: "c", Values: connect.NewValues(options(), config), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Stop(context.Background()) }()
	if _, err := s.(*sink).Assign(b.Context(), []connect.Assignment{assignment("A", 0)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	used := cpu()
	for at := 0; at < b.N; at += each {
		batch := make([]*connect.Record, 0, each)
		for i := at; i < min(at+each, b.N); i++ {
			batch = append(batch, record(int64(i), "CLI-1", fmt.Sprintf(`{"numero":"FA-2026-%06d","type":"FACTURE","commandeId":"CMD-%d","client":"LUCAS","clientId":"CLI-%d","date":"2026-11-20",`+
				`"lignes":[{"id_produit":1597,"nom_produit":"T-shirt en coton bio","quantite":1,"montant":29.99,"prix":29.99},{"id_produit":1001,"nom_produit":"PC Gamer","quantite":1,"montant":120.5,"prix":120.5}],`+
				`"total_ht":125.41,"tva":25.08,"taux_tva":20,"montant":150.49,"devise":"EUR","date_commande":"2026-11-20T10:00:00.000Z","timestamp":"2026-11-20T10:00:01.000Z"}`, i, i, i%1000)))
		}
		if err := s.Put(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-used)/1000/float64(b.N), "cpu-µs/op")
}

func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

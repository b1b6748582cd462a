package track

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/comptoir/comptoir/internal/kclient"
	"github.com/comptoir/comptoir/test/testenv"
)

// TestRealKafka runs what must hold on an Apache Kafka too, and kills it on the
// way.
func TestRealKafka(t *testing.T) {
	server := testenv.StartKafka(t)
	c := &cluster{tb: t, kafka: kclient.Config{Brokers: []string{server.Addr}}}
	c.connect()
	if _, err := c.adm.CreateTopics(context.Background(), 3, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	testFetch(t, c)
	t.Run("instance", func(t *testing.T) {
		sub := &cluster{tb: t, kafka: c.kafka}
		sub.connect()
		testInstance(t, sub)
	})
	t.Run("history", func(t *testing.T) {
		sub := &cluster{tb: t, kafka: c.kafka}
		sub.connect()
		testOrderDatabase(t, sub, openSQLite(t))
	})
	c.cl.Close() // it keeps to a topic that is no more
	c.connect()

	db := newMemory()
	a, _ := c.start(db)
	c.caughtUp(db)
	server.Kill()
	eventually(t, "unhealthy", func() error {
		if a.Health() == nil {
			return errors.New("healthy without Kafka")
		}
		return nil
	})
	server.Start()
	c.history(rand.New(rand.NewPCG(8, uint64(time.Now().UnixNano()))), 100, 3, 10)
	c.caughtUp(db)
	eventually(t, "healthy", healthy(a))
}

package kill

import (
	"testing"
	"time"

	"github.com/comptoir/comptoir/test/testenv"
)

// kafka is a real Apache Kafka as the victim, for actors that do not count on
// topics being there as soon as they are acknowledged, nor on frequent cleaning:
// plain, transactions, pipeline, trim, offsets, fencing.
type kafka struct {
	server *testenv.Server
	took   time.Duration
}

func newKafka(t *testing.T) *kafka {
	return &kafka{server: testenv.StartKafka(t)}
}

func (k *kafka) Start() error {
	begun := time.Now()
	if !k.server.Running() {
		k.server.Start()
	}
	k.took = time.Since(begun)
	return nil
}

func (k *kafka) Launch() error                    { return k.Start() }
func (k *kafka) Kill()                            { k.server.Kill() }
func (k *kafka) Ended() <-chan struct{}           { return nil }
func (k *kafka) Printed() string                  { return "" }
func (k *kafka) Started() (string, time.Duration) { return k.server.Addr, k.took }

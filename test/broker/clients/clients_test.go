package clients

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/comptoir/comptoir/test/broker/child"
)

var all = []string{"kgo", "sarama", "kafka-go", "java", "streams", "kcat", "python", "node"}

func TestMain(m *testing.M) {
	child.Main()
	os.Exit(m.Run())
}

func TestClients(t *testing.T) {
	names := strings.Split(os.Getenv("COMPTOIR_CLIENTS"), ",")
	switch names[0] {
	case "":
		t.Skip("left out: `make broker-clients` runs it")
	case "all":
		names = all
	}
	p := child.New(t, child.Config{Engine: os.Getenv("COMPTOIR_CLIENTS_ENGINE"), Dir: t.TempDir()})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	addr, _ := p.Started()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("./run", addr, name)
			cmd.Env = append(os.Environ(), "COMPTOIR_CLIENTS_LOGS="+t.TempDir())
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

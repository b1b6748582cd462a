package broker

import (
	"os"
	"strings"
)

// bootID differs after every start of the machine; empty is unknown.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

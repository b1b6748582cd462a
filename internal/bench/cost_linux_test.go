package bench

import (
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the processor time that this process has had.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &at); err != nil {
		t.Fatal(err)
	}
	return time.Duration(at.Nano())
}

// TestKernelTime: what the kernel does counts, computing does not, and a process
// that is gone makes it unknown.
func TestKernelTime(t *testing.T) {
	pids := []int{os.Getpid()}
	b := &bench{Target: Target{PIDs: func() []int { return pids }}}
	buf := make([]byte, 1<<20)
	// used is what doing something for a fifth of a second of processor time took in the kernel.
	used := func(do func()) time.Duration {
		before := b.kernelTime()
		for began := processTime(t); processTime(t)-began < 200*time.Millisecond; {
			do()
		}
		return time.Duration((b.kernelTime() - before) * float64(time.Second))
	}
	computing := used(func() { _ = sha256.Sum256(buf) })
	touching := used(func() {
		memory, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Munmap(memory); err != nil {
			t.Fatal(err)
		}
	})
	if touching < 100*time.Millisecond || computing > 100*time.Millisecond {
		t.Errorf("of 200 ms each %v of computing and %v of taking memory were in the kernel", computing, touching)
	}
	if peak := b.peak(); peak < 1<<20 || peak > 8<<30 {
		t.Errorf("%d bytes at most", peak)
	}
	pids = append(pids, 1<<30)
	if got := b.kernelTime(); got >= 0 {
		t.Errorf("of a process that is not there: %v", got)
	}
	b.PIDs = nil
	if got := b.kernelTime(); got >= 0 {
		t.Errorf("of no process: %v", got)
	}
}

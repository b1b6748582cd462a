package server

import "testing"

func TestBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 1<<20 + 1, 4 << 20, 4<<20 + 1} {
		b := takeBuffer(n)
		if len(b) != n {
			t.Fatalf("%d bytes, want %d", len(b), n)
		}
		if n <= 1<<mostBuffer && cap(b) > max(2*n, 1<<leastBuffer) {
			t.Errorf("%d bytes take %d", n, cap(b))
		}
		giveBuffer(b)
		giveBuffer(make([]byte, n, n+1)) // not ours
	}
	// Whatever comes back has room for what is asked for.
	for n := 1; n <= 5<<20; n = n*3/2 + 1 {
		giveBuffer(make([]byte, n))
		if b := takeBuffer(n); len(b) != n {
			t.Fatalf("%d bytes, want %d", len(b), n)
		}
	}
}

//go:build unix

package cpu

import "golang.org/x/sys/unix"

// pages is n zeroed bytes from the operating system, outside the garbage
// collector's heap: an arena on the heap would let garbage grow to the arena's
// size before it is collected.
func pages(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil && n >= largePages {
		adviseLargePages(mem)
	}
	return mem, err
}

// largePages is the size from which memory is worth large pages, of two MiB on
// most machines: kernels walk through maps in many streams, each of which needs
// its page's address at hand.
const largePages = 8 << 20

// giveBack returns what pages gave.
func giveBack(mem []byte) { _ = unix.Munmap(mem) }

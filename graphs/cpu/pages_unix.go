//go:build unix

package cpu

import "golang.org/x/sys/unix"

// pages is n zeroed bytes from the operating system, outside the garbage
// collector's heap: an arena on the heap would let garbage grow to the arena's
// size before it is collected.
func pages(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// giveBack returns what pages gave.
func giveBack(mem []byte) { _ = unix.Munmap(mem) }

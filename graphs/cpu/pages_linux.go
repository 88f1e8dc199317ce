package cpu

import "golang.org/x/sys/unix"

// adviseLargePages asks for large pages. Where there are none, all is as before.
func adviseLargePages(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// farAway is the high half of the offset of the one byte that is locked: beyond
// the text, which others may then read.
const farAway = 1 << 30

// tryLock locks one byte of a file, or says errHeld.
func tryLock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: farAway})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errHeld
	}
	return os.NewSyscallError("LockFileEx", err)
}

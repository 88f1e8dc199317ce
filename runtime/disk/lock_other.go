//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package disk

import (
	"errors"
	"os"
)

// tryLock has no lock that would vanish with the process.
func tryLock(*os.File) error { return errors.ErrUnsupported }

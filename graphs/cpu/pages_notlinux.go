//go:build unix && !linux

package cpu

// adviseLargePages does nothing: only Linux has to be asked.
func adviseLargePages([]byte) {}

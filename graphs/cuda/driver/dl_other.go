//go:build !linux || !(amd64 || arm64)

package driver

import (
	"errors"
	"runtime"
)

// dlopen opens nothing: NVIDIA's libraries are looked for on Linux, on amd64
// and arm64.
func dlopen(string) (uintptr, error) {
	return 0, errors.New("not supported on " + runtime.GOOS + "/" + runtime.GOARCH)
}

func dlsym(uintptr, string) uintptr { return 0 }

func dlpath(uintptr) string { return "" }

// call is never reached: there is no library whose function it could call.
func call(uintptr, ...uintptr) uintptr { return 0 }

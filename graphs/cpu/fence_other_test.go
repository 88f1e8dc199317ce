//go:build !linux

package cpu

import "testing"

// fenced is n bytes; elsewhere they lie beside memory that cannot be touched.
func fenced(_ testing.TB, n int, _ bool) []byte { return make([]byte, n) }

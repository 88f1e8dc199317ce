//go:build !linux

package vector

import "testing"

// fence is memory of floats elements.
func fence(_ *testing.T, floats int) []float32 { return make([]float32, floats) }

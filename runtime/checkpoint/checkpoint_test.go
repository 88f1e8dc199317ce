package checkpoint

import (
	"bytes"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/locorun/locorun/runtime/export"
)

// sample is a small checkpoint of awkward shapes, another for each step.
func sample(step int) *Content {
	return &Content{
		Step:  step,
		About: map[string]string{"program": "stage s1 { \"x\" }\n", `quo"sha256`: "é", "": "no key"},
		Tensors: []export.Tensor{
			{Name: "s1.conv1.weight", Shape: []int{2, 1, 1, 3}, Data: []float32{1, 2, float32(step), -4, 5, float32(math.Inf(1))}},
			{Name: "empty", Shape: []int{0, 7}},
			{Name: "optim/s1.conv1.weight", Shape: []int{3}, Data: []float32{float32(math.NaN()), math.MaxFloat32, 0}},
			{Name: "scalar", Shape: []int{}, Data: []float32{-0.5}},
		},
	}
}

func encode(t testing.TB, c *Content) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(raw []byte) (*Content, string, error) { return Read(bytes.NewReader(raw), int64(len(raw))) }

// equal reports whether two contents are equal to the bit.
func equal(a, b *Content) bool {
	bits := func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }
	return a.Step == b.Step && maps.Equal(a.About, b.About) && slices.EqualFunc(a.Tensors, b.Tensors, func(x, y export.Tensor) bool {
		return x.Name == y.Name && slices.Equal(x.Shape, y.Shape) && slices.EqualFunc(x.Data, y.Data, bits)
	})
}

func TestRoundTrip(t *testing.T) {
	for name, c := range map[string]*Content{"sample": sample(5), "nothing": {}} {
		raw := encode(t, c)
		got, digest, err := read(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(digest) != 64 || !equal(got, c) {
			t.Errorf("%s: read %v, %q", name, got, digest)
		}
		if !bytes.Equal(encode(t, got), raw) {
			t.Errorf("%s: what was read writes other bytes", name)
		}
	}
}

// TestWriteCopiesNoTensors: writing costs blocks, not the size of what is
// written.
func TestWriteCopiesNoTensors(t *testing.T) {
	data := make([]float32, 8<<20)
	c := &Content{Tensors: []export.Tensor{{Name: "a", Shape: []int{len(data)}, Data: data}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Write(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes allocated for %d values", got, len(data))
	}
}

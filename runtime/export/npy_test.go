package export

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNpyBytes(t *testing.T) {
	var b bytes.Buffer
	if err := WriteNpy(&b, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}); err != nil {
		t.Fatal(err)
	}
	dict := "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
	want := "\x93NUMPY\x01\x00\x76\x00" + dict + strings.Repeat(" ", 0x76-1-len(dict)) + "\n"
	raw := b.Bytes()
	if got := string(raw[:128]); got != want {
		t.Errorf("header %q, want %q", got, want)
	}
	var values [6]float32
	if err := binary.Read(bytes.NewReader(raw[128:]), binary.LittleEndian, &values); err != nil {
		t.Fatal(err)
	}
	if len(raw) != 128+24 || values != [6]float32{1, 2, 3, 4, 5, 6} {
		t.Errorf("%d bytes, values %v", len(raw), values)
	}
}

func TestNpyHeaders(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  string
	}{
		{nil, "'shape': (), }"},
		{[]int{5}, "'shape': (5,), }"},
		{[]int{0, 9}, "'shape': (0, 9), }"},
		{[]int{8, 3, 12, 1_000_000}, "'shape': (8, 3, 12, 1000000), }"},
	} {
		h := npyHeader("<i8", c.shape)
		if !strings.Contains(string(h), c.want) || len(h)%64 != 0 || h[len(h)-1] != '\n' {
			t.Errorf("%v: %q", c.shape, h)
		}
	}
}

func TestNpyRefuses(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  string
	}{
		{[]int{2, 2}, "npy: shape [2 2] holds 4 values, not 1"},
		{[]int{-1}, "npy: shape [-1] has a side below zero"},
		{[]int{1 << 40, 1 << 40}, "can be counted"},
	} {
		err := WriteNpy(&bytes.Buffer{}, c.shape, []float32{1})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.shape, err, c.want)
		}
	}
}

func TestPythonReadsNpy(t *testing.T) {
	py := python(t, "sys")
	var f, i bytes.Buffer
	if err := WriteNpy(&f, []int{2, 1, 2}, []float32{1, -2, 0.5, 4}); err != nil {
		t.Fatal(err)
	}
	if err := WriteNpy(&i, []int{3}, []int64{7, -1, 1 << 40}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string]*bytes.Buffer{"f.npy": &f, "i.npy": &i} {
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `
import sys, numpy as np
for n in ("f", "i"):
    x = np.load(f"{sys.argv[1]}/{n}.npy", allow_pickle=False)
    print(x.dtype, x.shape, x.ravel().tolist())
`
	out, err := exec.Command(py, "-c", script, dir).CombinedOutput()
	want := "float32 (2, 1, 2) [1.0, -2.0, 0.5, 4.0]\nint64 (3,) [7, -1, 1099511627776]\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

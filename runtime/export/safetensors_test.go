package export

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// sample is a few tensors of awkward shapes.
func sample() ([]Tensor, map[string]string) {
	return []Tensor{
		{Name: "conv1.weight", Shape: []int{2, 1, 1, 3}, Data: []float32{1, 2, 3, -4, 5, float32(math.Inf(1))}},
		{Name: "low/proj.fc1.bias", Shape: []int{1}, DType: F32, Data: []float32{0.25}},
		{Name: "empty", Shape: []int{0, 7}, Data: nil},
		{Name: "scalar", Shape: []int{}, Data: []float32{-0.5}},
		{Name: `quo"te é <&>`, Shape: []int{2}, Data: []float32{math.MaxFloat32, math.SmallestNonzeroFloat32}},
	}, map[string]string{"format": "pt", "loco": "stage s1 { \"x\" }\n", "": "empty key"}
}

func encode(t testing.TB, tensors []Tensor, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSafetensors(&b, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sameTensors(t testing.TB, got, want []Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		bits := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
		if g.Name != w.Name || !slices.Equal(g.Shape, w.Shape) || !slices.EqualFunc(g.Data, w.Data, bits) {
			t.Errorf("tensor %d: got %v, want %v", i, g, w)
		}
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	tensors, metadata := sample()
	raw := encode(t, tensors, metadata)
	if !bytes.Equal(raw, encode(t, tensors, metadata)) {
		t.Error("the same tensors gave other bytes the second time")
	}
	if n := binary.LittleEndian.Uint64(raw); n%8 != 0 {
		t.Errorf("the header has %d bytes, not a multiple of 8", n)
	}
	got, gotMeta, err := ReadSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	// A tensor of no bytes shares its place with the one that follows; order by
	// place keeps the file's order.
	sameTensors(t, got, tensors)
	if !maps.Equal(gotMeta, metadata) {
		t.Errorf("metadata %v, want %v", gotMeta, metadata)
	}
}

func TestSafetensorsOfNothing(t *testing.T) {
	raw := encode(t, nil, nil)
	if want := "\x08\x00\x00\x00\x00\x00\x00\x00{}      "; string(raw) != want {
		t.Errorf("got %q, want %q", raw, want)
	}
	got, meta, err := ReadSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err != nil || len(got) != 0 || meta != nil {
		t.Errorf("got %v, %v, %v", got, meta, err)
	}
}

func TestSafetensorsLongTensor(t *testing.T) {
	data := make([]float32, 40_001) // more than one buffer, not a multiple of it
	for i := range data {
		data[i] = float32(i) / 3
	}
	want := []Tensor{{Name: "x", Shape: []int{40_001}, Data: data}}
	raw := encode(t, want, nil)
	got, _, err := ReadSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, got, want)
}

func TestWriteRefuses(t *testing.T) {
	one := []float32{1}
	many := make([]Tensor, MaxTensors+1)
	for _, c := range []struct {
		name    string
		tensors []Tensor
		meta    map[string]string
		want    string
	}{
		{"no name", []Tensor{{Data: one}}, nil, "without a name"},
		{"twice", []Tensor{{Name: "a", Data: one}, {Name: "a", Data: one}}, nil, `"a" occurs twice`},
		{"shape", []Tensor{{Name: "a", Shape: []int{2, 3}, Data: one}}, nil, "shape [2 3] holds 6 values, not 1"},
		{"negative", []Tensor{{Name: "a", Shape: []int{-1, -1}, Data: one}}, nil, "below zero"},
		{"overflow", []Tensor{{Name: "a", Shape: []int{1 << 40, 1 << 40}, Data: one}}, nil, "can be counted"},
		{"rank", []Tensor{{Name: "a", Shape: make([]int, 9)}}, nil, "9 dimensions; at most 8"},
		{"type", []Tensor{{Name: "a", DType: "F16", Data: one}}, nil, "only F32 is written"},
		{"metadata's name", []Tensor{{Name: "__metadata__", Data: one}}, nil, "names the metadata"},
		{"control", []Tensor{{Name: "a\x00b", Data: one}}, nil, "control character"},
		{"not UTF-8", []Tensor{{Name: "a\xff", Data: one}}, nil, "not UTF-8"},
		{"absolute", []Tensor{{Name: "/etc/passwd", Data: one}}, nil, "path out of its folder"},
		{"parent", []Tensor{{Name: "a/../../x", Data: one}}, nil, "path out of its folder"},
		{"long", []Tensor{{Name: strings.Repeat("x", MaxName+1), Data: one}}, nil, "1025 bytes; at most 1024"},
		{"too many", many, nil, "at most 65536"},
		{"metadata not UTF-8", nil, map[string]string{"k": "\xff"}, `metadata "k" is not UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := WriteSafetensors(&b, c.tensors, c.meta)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes were written before the refusal", b.Len())
			}
		})
	}
}

// file is a safetensors file with a header as given and values of n bytes.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, n)...)
}

// lies are files that claim what is not so.
func lies() []struct {
	name string
	raw  []byte
	want string
} {
	claim := func(n uint64, rest string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
	}
	tensor := func(fields string, n int) []byte { return file(`{"a":{`+fields+`}}`, n) }
	return []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "0 bytes"},
		{"half a length", []byte{1, 0, 0}, "3 bytes"},
		{"length 0", claim(0, ""), "does not begin with {"},
		{"length 1", claim(1, "{"), "EOF"},
		{"length past the end", claim(3, "{}"), "claims 3 bytes; the file has 2"},
		{"length 2^31", claim(1<<31, "{}"), "at most 100000000"},
		{"length 2^63-1", claim(1<<63-1, "{}"), "at most 100000000"},
		{"length -1", claim(math.MaxUint64, "{}"), "at most 100000000"},
		{"a blank first", file(" {}", 0), "does not begin with {"},
		{"no object", file("[]", 0), "does not begin with {"},
		{"not UTF-8", file("{\"\xff\":{}}", 0), "not UTF-8"},
		{"text after the brace", file("{} x", 0), "not blanks"},
		{"newline after the brace", file("{}\n", 0), "not blanks"},
		{"two objects", file("{}{}", 0), "not blanks"},
		{"open end", file(`{"a":{"dtype":"F32"`, 0), "EOF"},
		{"tensor twice", file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 0), `"a" occurs twice`},
		{"twice by escape", file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 0), `"a" occurs twice`},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, 0), "occurs twice"},
		{"metadata key twice", file(`{"__metadata__":{"k":"1","k":"2"}}`, 0), `metadata: "k" occurs twice`},
		{"metadata number", file(`{"__metadata__":{"k":1}}`, 0), "1 where a string was expected"},
		{"metadata list", file(`{"__metadata__":[]}`, 0), "[ where { was expected"},
		{"field twice", tensor(`"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]`, 4), `"dtype" occurs twice`},
		{"field in capitals", tensor(`"DTYPE":"F32","shape":[],"data_offsets":[0,4]`, 4), `unknown field "DTYPE"`},
		{"field missing", tensor(`"dtype":"F32","shape":[]`, 4), "needs dtype, shape and data_offsets"},
		{"unknown type", tensor(`"dtype":"F33","shape":[],"data_offsets":[0,4]`, 4), `unknown type "F33"`},
		{"fraction", tensor(`"dtype":"F32","shape":[1.0],"data_offsets":[0,4]`, 4), "1.0 is not a whole number"},
		{"exponent", tensor(`"dtype":"F32","shape":[1e0],"data_offsets":[0,4]`, 4), "1e0 is not a whole number"},
		{"negative side", tensor(`"dtype":"F32","shape":[-1],"data_offsets":[0,4]`, 4), "-1 is not a whole number"},
		{"side 2^63", tensor(`"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]`, 4), "not a whole number"},
		{"sides overflow", tensor(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]`, 0), "can be counted"},
		{"bytes overflow", tensor(`"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]`, 0), "does not fill"},
		{"rank 9", tensor(`"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]`, 4), "more than 8"},
		{"a string as side", tensor(`"dtype":"F32","shape":["1"],"data_offsets":[0,4]`, 4), "where a number was expected"},
		{"a shape that is no list", tensor(`"dtype":"F32","shape":{},"data_offsets":[0,4]`, 4), "{ where [ was expected"},
		{"one offset", tensor(`"dtype":"F32","shape":[],"data_offsets":[4]`, 4), "not a begin and an end"},
		{"three offsets", tensor(`"dtype":"F32","shape":[],"data_offsets":[0,4,4]`, 4), "more than 2"},
		{"offsets reversed", tensor(`"dtype":"F32","shape":[],"data_offsets":[4,0]`, 4), "not a begin and an end"},
		{"too short for the shape", tensor(`"dtype":"F32","shape":[2],"data_offsets":[0,4]`, 4), "does not fill the 4 bytes"},
		{"a byte too many", tensor(`"dtype":"F32","shape":[1],"data_offsets":[0,5]`, 5), "does not fill the 5 bytes"},
		{"past the end", tensor(`"dtype":"F32","shape":[2],"data_offsets":[0,8]`, 4), "end at 8, the values have 4 bytes"},
		{"bytes left over", tensor(`"dtype":"F32","shape":[1],"data_offsets":[0,4]`, 5), "end at 4, the values have 5 bytes"},
		{"huge", tensor(`"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]`, 4), "the values have 4 bytes"},
		{"hole", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12), `a hole before tensor "b"`},
		{"hole at the start", tensor(`"dtype":"F32","shape":[1],"data_offsets":[4,8]`, 8), `a hole before tensor "a"`},
		{"overlap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), `"b" begins at 4, inside`},
		{"same bytes twice", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), "inside the one before it"},
		{"no name", file(`{"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4), "without a name"},
		{"NUL in a name", file(`{"a\u0000":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4), "control character"},
		{"name leads out", file(`{"../x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4), "path out of its folder"},
		{"name of 1 MB", file(`{"`+strings.Repeat("x", 1<<20)+`":{}}`, 0), "1048576 bytes; at most 1024"},
		{"deep", file(`{"a":`+strings.Repeat("[", 50_000), 0), "[ where { was expected"},
		{"comma missing", file(`{"__metadata__":{"a":"b" "c":"d"}}`, 0), "invalid character"},
		{"comma too many", file(`{"__metadata__":{"a":"b",}}`, 0), "invalid character"},
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range lies() {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ReadSafetensors(bytes.NewReader(c.raw), int64(len(c.raw)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestReaderRefusesManyTensors(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{`)
	for i := range MaxTensors + 1 {
		fmt.Fprintf(&b, `"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},`, i)
	}
	raw := file(strings.TrimSuffix(b.String(), ",")+"}", 0)
	_, err := OpenSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err == nil || !strings.Contains(err.Error(), "more than 65536 tensors") {
		t.Errorf("got %v", err)
	}
}

// TestReaderTrustsNoSize opens files that claim gigabytes and counts what was
// allocated.
func TestReaderTrustsNoSize(t *testing.T) {
	for _, c := range lies() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := ReadSafetensors(bytes.NewReader(c.raw), int64(len(c.raw)))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(c.raw))*8+1<<20 {
			t.Errorf("%s: %d bytes allocated for a file of %d", c.name, got, len(c.raw))
		}
	}
}

// TestReaderRefusesTruncation cuts a good file at every length and lengthens it.
func TestReaderRefusesTruncation(t *testing.T) {
	raw := encode(t, sampleTensors(), nil)
	for n := range len(raw) {
		if _, _, err := ReadSafetensors(bytes.NewReader(raw[:n]), int64(n)); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(raw))
		}
	}
	long := append(slices.Clone(raw), 0)
	if _, _, err := ReadSafetensors(bytes.NewReader(long), int64(len(long))); err == nil {
		t.Error("a byte too many was accepted")
	}
}

func sampleTensors() []Tensor {
	tensors, _ := sample()
	return tensors
}

// TestReaderFileShrinks opens a file that is shorter than its size was.
func TestReaderFileShrinks(t *testing.T) {
	tensors, _ := sample()
	raw := encode(t, tensors, nil)
	_, _, err := ReadSafetensors(bytes.NewReader(raw[:len(raw)-1]), int64(len(raw)))
	if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v", err)
	}
}

func TestReaderReadsOtherTypesPast(t *testing.T) {
	header := `{"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`
	raw := file(header, 12)
	f, err := OpenSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := f.Read("x"); err != nil || len(x) != 1 {
		t.Errorf("x: %v, %v", x, err)
	}
	if _, err := f.Read("n"); err == nil || err.Error() != `tensor "n": type I64, not F32` {
		t.Errorf("n: %v", err)
	}
	if _, err := f.Read("y"); err == nil || err.Error() != `no tensor "y"` {
		t.Errorf("y: %v", err)
	}
	if f.Find("n").Bytes() != 8 || f.Find("y") != nil {
		t.Error("Find")
	}
}

// FuzzSafetensors: whatever is accepted reads, and what was read writes and
// reads back the same.
func FuzzSafetensors(f *testing.F) {
	tensors, metadata := sample()
	f.Add(encode(f, tensors, metadata))
	f.Add(encode(f, nil, nil))
	for _, c := range lies() {
		if len(c.raw) < 1<<12 {
			f.Add(c.raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := OpenSafetensors(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		total := int64(0)
		for i := range file.Tensors {
			total += file.Tensors[i].Bytes()
		}
		if n := int64(binary.LittleEndian.Uint64(raw)); 8+n+total != int64(len(raw)) {
			t.Fatalf("%d bytes of values in a file of %d with a header of %d", total, len(raw), n)
		}
		first, meta, err := ReadSafetensors(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return // a type that is not F32
		}
		again := encode(t, first, meta)
		second, _, err := ReadSafetensors(bytes.NewReader(again), int64(len(again)))
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, second, first)
	})
}

// python is an interpreter with numpy, and with the module asked for; the test
// is skipped where there is none. LOCORUN_PYTHON names another than python3.
func python(t *testing.T, module string) string {
	t.Helper()
	name := os.Getenv("LOCORUN_PYTHON")
	if name == "" {
		name = "python3"
	}
	if err := exec.Command(name, "-c", "import numpy, "+module).Run(); err != nil {
		t.Skipf("%s has no numpy or no %s: %v", name, module, err)
	}
	return name
}

func TestPythonReadsSafetensors(t *testing.T) {
	py := python(t, "safetensors")
	path := filepath.Join(t.TempDir(), "x.safetensors")
	tensors, metadata := sample()
	if err := os.WriteFile(path, encode(t, tensors, metadata), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "numpy") as f:
    print(f.metadata()["format"])
    for k in ["conv1.weight", "low/proj.fc1.bias", "empty", "scalar"]:
        x = f.get_tensor(k)
        print(k, x.dtype, x.shape, x.ravel().tolist())
`
	out, err := exec.Command(py, "-c", script, path).CombinedOutput()
	want := `pt
conv1.weight float32 (2, 1, 1, 3) [1.0, 2.0, 3.0, -4.0, 5.0, inf]
low/proj.fc1.bias float32 (1,) [0.25]
empty float32 (0, 7) []
scalar float32 () [-0.5]
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReadsTheReferenceWritersFiles: the goldens were written by the format's
// own library.
func TestReadsTheReferenceWritersFiles(t *testing.T) {
	f, err := os.Open("../../testdata/golden/overlap.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := OpenSafetensors(f, s.Size())
	if err != nil {
		t.Fatal(err)
	}
	for name, shape := range map[string][]int{
		"images":                      {16, 12, 12, 3},
		"init/s2.0.conv1.weight":      {16, 8, 3, 3},
		"grad/low/proj.fc2.bias":      {16},
		"stats/s3.0.bn1.running_mean": {32},
		"loss/mid":                    {10},
	} {
		x := file.Find(name)
		if x == nil || !slices.Equal(x.Shape, shape) {
			t.Errorf("%s: %+v, want shape %v", name, x, shape)
		}
	}
	if l, err := file.Read("loss/low"); err != nil || l[0] < 2.66 || l[0] > 2.67 {
		t.Errorf("loss of low: %v, %v", l, err)
	}
}

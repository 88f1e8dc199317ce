package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"maps"
	"math"
	"math/rand/v2"
	"os"

	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/runtime/disk/disktest"
	"github.com/locorun/locorun/runtime/export"
)

// slack is what reading may allocate beyond the file's size, in bytes: 16 MiB,
// and where the header is there and larger than 1 MiB, 16 times what it has more.
func slack(raw []byte) uint64 {
	bound := uint64(16 << 20)
	if raced {
		bound *= 2
	}
	if len(raw) > 8 {
		if n := binary.LittleEndian.Uint64(raw); n > 1<<20 && n <= uint64(len(raw)) {
			bound += 16 * (n - 1<<20)
		}
	}
	return bound
}

// readBounded reads and measures all that was allocated, kept or not.
func readBounded(t testing.TB, raw []byte) (*Content, string, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, digest, err := read(raw)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(raw))+slack(raw) {
		t.Errorf("%d bytes allocated for a file of %d", got, len(raw))
	}
	return c, digest, err
}

// file is a header and that many zero bytes.
func file(header string, values int) []byte {
	return append(claim(uint64(len(header)), header), make([]byte, values)...)
}

// claim is a header whose length is a claim.
func claim(n uint64, header string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), header...)
}

// meta is the metadata of a checkpoint, without the brace that ends the header.
const meta = `{"__metadata__":{"format":"locorun checkpoint 1","sha256":"0000000000000000000000000000000000000000000000000000000000000000","step":"5"}`

// tensor is a header of one tensor.
func tensor(name, fields string) string { return meta + `,"` + name + `":{` + fields + `}}` }

// entries is a header of n tensors, each written by its number.
func entries(n int, one func(i int) string) string {
	var b strings.Builder
	b.WriteString(meta)
	for i := range n {
		b.WriteString("," + one(i))
	}
	return b.String() + "}"
}

func empty(i int) string {
	return fmt.Sprintf(`"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, i)
}

// sign gives a file the digest that its bytes have, as somebody may who means
// harm.
func sign(raw []byte) []byte {
	h := sha256.Sum256(raw)
	return bytes.Replace(raw, []byte(digestZeros), []byte(hex.EncodeToString(h[:])), 1)
}

// lie is a file and the words that refuse it; none where it is only large.
type lie struct {
	raw  []byte
	want string
}

// f32 is the fields of a tensor of one value.
const f32 = `"dtype":"F32","shape":[1],"data_offsets":[0,4]`

// hostile is small files that lie, by what each tries. Those that carry a digest
// carry the right one.
func hostile() map[string]lie {
	return signed(map[string]lie{
		"nothing":                 {nil, "0 bytes; even an empty checkpoint has more"},
		"length 0":                {claim(0, ""), `"" where "{\"__metadata__\":{" was expected`},
		"length 0 of a header":    {claim(0, meta+"}"), `"" where`},
		"length 1":                {claim(1, "{"), `byte 0: "{" where`},
		"length 2^31":             {claim(1<<31, meta+"}"), "claims 2147483648 bytes; at most 33554432"},
		"length 2^63-1":           {claim(math.MaxInt64, meta+"}"), "claims 9223372036854775807 bytes; at most 33554432"},
		"length -1":               {claim(math.MaxUint64, meta+"}"), "claims 18446744073709551615 bytes; at most 33554432"},
		"length past the end":     {claim(uint64(len(meta)+2), meta+"}"), "bytes; the file has"},
		"no metadata":             {file(`{}      `, 0), `byte 0: "{}      " where`},
		"a later format":          {file(`{"__metadata__":{"format":"locorun checkpoint 2"}}`, 0), `format "locorun checkpoint 2"; this program reads "locorun checkpoint 1"`},
		"no step":                 {file(strings.Replace(meta, `,"step":"5"`, "", 1)+"}", 0), `step "" is no number`},
		"step below zero":         {file(strings.Replace(meta, `"5"`, `"-5"`, 1)+"}", 0), `step "-5" is no number`},
		"step of 40 digits":       {file(strings.Replace(meta, `"5"`, `"`+strings.Repeat("9", 40)+`"`, 1)+"}", 0), "is no number"},
		"step with a zero":        {file(strings.Replace(meta, `"5"`, `"05"`, 1)+"}", 0), "not spelled"},
		"short digest":            {file(strings.Replace(meta, "00", "", 1)+"}", 0), "is no SHA-256"},
		"digest of letters":       {file(strings.Replace(meta, "00", "zz", 1)+"}", 0), "is no SHA-256"},
		"blanks in the header":    {file(strings.Replace(meta, ":", ": ", 1)+"}", 0), `byte 0: "{\"__metadata__\": {`},
		"blanks after the header": {file(meta+"}"+strings.Repeat(" ", 16), 0), "not spelled"},
		"keys out of order":       {file(strings.Replace(meta, `"step":"5"`, `"a":"b","step":"5"`, 1)+"}", 0), "not spelled"},
		"escapes without need":    {file(strings.Replace(meta, `"5"`, `"\u0035"`, 1)+"}", 0), "not spelled"},
		"overlap":                 {file(meta+`,"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), `tensor "b": it begins at 4; what is before it ends at 8`},
		"hole":                    {file(meta+`,"a":{`+f32+`},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12), `tensor "b": it begins at 8; what is before it ends at 4`},
		"hole at the end":         {file(tensor("a", f32), 8), "end at 4, the values have 8 bytes"},
		"values that are not":     {file(tensor("a", `"dtype":"F32","shape":[2305843009213693951],"data_offsets":[0,9223372036854775804]`), 4), "ends at 9223372036854775804; the values have 4 bytes"},
		"a shape that overflows":  {file(tensor("a", `"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]`), 0), "can be counted"},
		"a side below zero":       {file(tensor("a", `"dtype":"F32","shape":[-1],"data_offsets":[0,4]`), 4), `where "a whole number" was expected`},
		"end before begin":        {file(tensor("a", `"dtype":"F32","shape":[1],"data_offsets":[4,0]`), 4), "it begins at 4; what is before it ends at 0"},
		"another type":            {file(tensor("a", `"dtype":"F64","shape":[1],"data_offsets":[0,8]`), 8), `where ":{\"dtype\":\"F32\",`},
		"a name twice":            {file(meta+`,"a":{`+f32+`},"a":{`+f32+`}}`, 4), `what is before it ends at 4`},
		"a name that leads out":   {file(tensor("../x", f32), 4), "path out of its folder"},
		"a name that is absolute": {file(tensor("/etc/passwd", f32), 4), "path out of its folder"},
		"a name with NUL":         {file(tensor(`a\u0000b`, f32), 4), "control character"},
		"no name":                 {file(tensor("", f32), 4), "without a name"},
		"an end past 2^63":        {file(tensor("a", `"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775808]`), 4), "a number beyond 9223372036854775807"},
		"nine sides":              {file(tensor("a", `"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]`), 4), "a shape of more than 8 sides"},
		"half a value":            {file(tensor("a", `"dtype":"F32","shape":[1],"data_offsets":[0,3]`), 3), "values from 0 to 3 are not whole"},
		"a shape that is less":    {file(tensor("a", `"dtype":"F32","shape":[1],"data_offsets":[0,8]`), 8), "shape [1] holds 1 values, not 2"},
		"empty twice":             {file(meta+","+empty(0)+","+empty(0)+"}", 0), `tensor "0" occurs twice`},
		"a word twice":            {file(strings.Replace(meta, `"step"`, `"format":"","step"`, 1)+"}", 0), `metadata: "format" occurs twice`},
		"no UTF-8 about":          {file(strings.Replace(meta, `"format"`, "\"a\":\"\xff\",\"format\"", 1)+"}", 0), "is not UTF-8"},
		"not UTF-8":               {file(strings.Replace(meta, `"5"`, "\"\xff\"", 1)+"}", 0), "is no number"},
	})
}

// large is files that try by their size.
func large() map[string]lie {
	return signed(map[string]lie{
		"same bytes many times": {file(entries(8000, func(i int) string { return fmt.Sprintf(`"%x":{%s}`, i, f32) }), 4), `tensor "1": it begins at 0; what is before it ends at 4`},
		"a name of 1 MB":        {file(tensor(strings.Repeat("x", 1_000_000), f32), 4), "1000000 bytes; at most 1024"},
		"10^6 entries":          {file(entries(1_000_000, empty), 0), "at most 33554432"},
		"many tensors":          {file(entries(17_500, empty), 0), ""},
		"a string without end":  {file(meta+`,"`+strings.Repeat("x", 1_000_000)+`\\`, 0), "a string that does not end"},
		"many words about":      {file(strings.Replace(meta, `"format"`, words(20_000)+`"format"`, 1)+"}", 0), "about: more than 1024 entries"},
		"a long word about":     {file(strings.Replace(meta, `"format"`, `"a":"`+strings.Repeat("x", 1_000_000)+`","format"`, 1)+"}", 0), ""},
		"escapes about":         {file(strings.Replace(meta, `"format"`, `"a":"`+strings.Repeat(`\u0001`, 150_000)+`","format"`, 1)+"}", 0), ""},
		"deep":                  {file(meta+`,"a":`+strings.Repeat("[", 1_000_000), 0), "where"},
	})
}

// signed pads and signs files.
func signed(lies map[string]lie) map[string]lie {
	for name, l := range lies {
		lies[name] = lie{sign(padded(l.raw)), l.want}
	}
	return lies
}

// words is n pairs of metadata.
func words(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%x":"",`, i)
	}
	return b.String()
}

// padded lengthens a header by the blanks that the format asks for, where the
// file does not lie about its length.
func padded(raw []byte) []byte {
	if len(raw) < lengthBytes {
		return raw
	}
	n := binary.LittleEndian.Uint64(raw)
	if n > uint64(len(raw)-lengthBytes) || n == 0 || raw[lengthBytes+n-1] != '}' {
		return raw
	}
	pad := -n & 7
	header := string(raw[lengthBytes:][:n]) + strings.Repeat(" ", int(pad))
	return append(claim(n+pad, header), raw[lengthBytes+n:]...)
}

// TestHostile: each lie is refused, in words that say what is wrong, and costs
// little; the few that are no lie but large are read.
func TestHostile(t *testing.T) {
	lies := hostile()
	maps.Copy(lies, large())
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		l := lies[name]
		t.Run(name, func(t *testing.T) {
			c, _, err := readBounded(t, l.raw)
			if l.want == "" {
				if err != nil || !bytes.Equal(encode(t, c), l.raw) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), l.want) {
				t.Errorf("got %.300v, want %q", err, l.want)
			}
		})
	}
}

// TestGreatestIsBounded: the greatest checkpoint that Write writes is read
// within the bound.
func TestGreatestIsBounded(t *testing.T) {
	c := &Content{About: map[string]string{}}
	for i := range MaxAbout {
		c.About[fmt.Sprintf("%04d", i)] = `"` + strings.Repeat("é", 20)
	}
	for i := range 8000 {
		c.Tensors = append(c.Tensors, export.Tensor{Name: fmt.Sprintf("%040d", i), Shape: []int{1, 1, 1, 1}, Data: []float32{float32(i)}})
	}
	raw := encode(t, c)
	got, _, err := readBounded(t, raw)
	if err != nil || !equal(got, c) {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
}

func TestWriteRefuses(t *testing.T) {
	one := export.Tensor{Name: "a", Data: []float32{1}}
	many := map[string]string{}
	for i := range MaxAbout + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		c    Content
		want string
	}{
		{"step", Content{Step: -1}, "step -1 is below zero"},
		{"own key format", Content{About: map[string]string{"format": ""}}, `about: the key "format" is the checkpoint's own`},
		{"own key step", Content{About: map[string]string{"step": ""}}, `about: the key "step" is the checkpoint's own`},
		{"own key sha256", Content{About: map[string]string{"sha256": ""}}, `about: the key "sha256" is the checkpoint's own`},
		{"no UTF-8", Content{About: map[string]string{"a": "\xff"}}, `metadata "a" is not UTF-8`},
		{"many words", Content{About: many}, "about: 1025 entries; at most 1024"},
		{"long words", Content{About: map[string]string{"a": strings.Repeat("x", MaxHeader)}}, fmt.Sprintf("take %d bytes; at most %d", MaxHeader+144, MaxHeader)},
		{"twice", Content{Tensors: []export.Tensor{one, one}}, `tensor "a" occurs twice`},
		{"shape", Content{Tensors: []export.Tensor{{Name: "a", Shape: []int{2}}}}, "holds 2 values, not 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Write(&b, &c.c)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes were written before the refusal", b.Len())
			}
		})
	}
}

// damaged is a store of two checkpoints of which the newer is to be damaged,
// and the newer's bytes.
func damaged(t *testing.T) (s *Store, raw []byte) {
	t.Helper()
	s = &Store{FS: disktest.NewMemory()}
	for step := 1; step <= 2; step++ {
		if _, err := s.Save(sample(step)); err != nil {
			t.Fatal(err)
		}
	}
	return s, encode(t, sample(2))
}

// lay puts bytes in the place of a file.
func lay(t *testing.T, s *Store, name string, raw []byte) {
	t.Helper()
	f, err := s.FS.Append(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// fallsBack checks that the newer checkpoint is skipped by its name and the
// older one loaded.
func fallsBack(t *testing.T, s *Store, what string) {
	t.Helper()
	var skipped []string
	c, name, err := s.Newest(func(name string, err error) {
		skipped = append(skipped, name)
		if strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s: the error is %v", what, err)
		}
	})
	if err != nil || name != Name(1) || !equal(c, sample(1)) || !slices.Equal(skipped, []string{Name(2)}) {
		t.Fatalf("%s: loaded %q past %q, %v", what, name, skipped, err)
	}
}

// TestBitFlips: of single flipped bits, none is accepted, and the older
// checkpoint is loaded. The short test asks the store only about some.
func TestBitFlips(t *testing.T) {
	s, raw := damaged(t)
	rng := rand.New(rand.NewPCG(1, 1))
	every := 20
	if os.Getenv("LOCORUN_LONG") != "" {
		every = 1
	}
	for n := range 10_000 {
		bit := rng.IntN(8 * len(raw))
		raw[bit/8] ^= 1 << (bit % 8)
		if _, _, err := read(raw); err == nil {
			t.Fatalf("bit %d: accepted", bit)
		}
		if n%every == 0 {
			lay(t, s, Name(2), raw)
			fallsBack(t, s, fmt.Sprintf("bit %d", bit))
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

func TestTruncations(t *testing.T) {
	s, raw := damaged(t)
	for n := range len(raw) {
		lay(t, s, Name(2), raw[:n])
		fallsBack(t, s, fmt.Sprintf("cut at %d", n))
	}
	for _, more := range [][]byte{{0}, make([]byte, 8), raw} {
		lay(t, s, Name(2), slices.Concat(raw, more))
		fallsBack(t, s, fmt.Sprintf("%d bytes longer", len(more)))
	}
	lay(t, s, Name(2), raw)
	if c, _, err := s.Newest(nil); err != nil || c.Step != 2 {
		t.Errorf("undamaged again: %v", err)
	}
}

// TestFileShrinks: a file that is shorter than its size was, at each length.
func TestFileShrinks(t *testing.T) {
	raw := encode(t, sample(1))
	for n := range len(raw) {
		if _, _, err := Read(bytes.NewReader(raw[:n]), int64(len(raw))); err == nil || strings.Contains(err.Error(), ": EOF") {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// TestDigestIsTheFiles: the digest is that of the file with zeros in its place,
// computed here from the bytes alone.
func TestDigestIsTheFiles(t *testing.T) {
	raw := encode(t, sample(7))
	_, digest, err := read(raw)
	if err != nil || bytes.Count(raw, []byte(digest)) != 1 {
		t.Fatalf("%q, %v", digest, err)
	}
	sum := sha256.Sum256(bytes.Replace(raw, []byte(digest), []byte(digestZeros), 1))
	if got := hex.EncodeToString(sum[:]); got != digest {
		t.Errorf("the file says %s and is %s", digest, got)
	}
}

// TestOthersReadIt: a checkpoint is a plain safetensors file.
func TestOthersReadIt(t *testing.T) {
	c := sample(7)
	raw := encode(t, c)
	tensors, about, err := export.ReadSafetensors(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"format", "step", "sha256"} {
		delete(about, k)
	}
	if !equal(&Content{Step: 7, About: about, Tensors: tensors}, c) || !maps.Equal(about, c.About) {
		t.Errorf("read %v, %v", about, tensors)
	}
}

// FuzzCheckpoint: whatever is read was written by Write, byte for byte, and
// reading it or refusing it costs little.
func FuzzCheckpoint(f *testing.F) {
	f.Add(encode(f, sample(5)))
	f.Add(encode(f, &Content{}))
	for _, l := range hostile() {
		f.Add(l.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, raw := range [][]byte{raw, sign(raw), sign(unsign(raw))} {
			c, digest, err := readBounded(t, raw)
			if err != nil {
				continue
			}
			if again := encode(t, c); !bytes.Equal(again, raw) || len(digest) != 64 {
				t.Errorf("read %d bytes, wrote %d", len(raw), len(again))
			}
		}
	})
}

// unsign puts zeros in the place of the first digest, so that sign lets a
// changed file past the hash.
func unsign(raw []byte) []byte {
	const key = `"sha256":"`
	at := bytes.Index(raw, []byte(key)) + len(key)
	if at < len(key) || len(raw) < at+len(digestZeros) {
		return raw
	}
	raw = bytes.Clone(raw)
	copy(raw[at:], digestZeros)
	return raw
}

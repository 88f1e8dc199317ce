package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/export"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":       "plain\ttext\n",
		"\x1b]0;title\x07":    "\uFFFD]0;title\uFFFD",
		"\u009b31m\r\x00\x7f": "\uFFFD31m\uFFFD\uFFFD\uFFFD",
		"größer, 大":           "größer, 大",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// TestHostileCheckpointIsShown: what a checkpoint says of itself steers no
// terminal.
func TestHostileCheckpointIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), checkpoint.Name(3))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const evil = "\x1b]0;evil\x07"
	err = checkpoint.Write(f, &checkpoint.Content{Step: 3, About: map[string]string{
		aboutProgram: evil, aboutMethod: evil, aboutDevice: evil, aboutFingerprint: evil,
		aboutMeaning: `[{"name":"\u001b[31m","value":"\u001b[2J"}]`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tiny := filepath.Join("..", "..", "testdata", "script", "tiny.loco")
	for _, args := range [][]string{{"inspect", path}, {"run", "--listen", "off", "--resume", path, tiny}} {
		_, out, errs := call(Env{}, args...)
		if text := out + errs; strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' }) || !strings.Contains(text, "\uFFFD") {
			t.Errorf("%s shows %q", args[0], text)
		}
	}
}

// TestLyingCheckpoints: one whose sum is right and whose tensors are not those of
// the program it tells of, or not finite, is refused, and shown all the same.
func TestLyingCheckpoints(t *testing.T) {
	dir := t.TempDir()
	tiny := filepath.Join("..", "..", "testdata", "script", "tiny.loco")
	made := filepath.Join(dir, "made")
	if code, _, errs := call(Env{}, "run", "--listen", "off", "--checkpoint-every", "5", "--out", made, tiny); code != 0 {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		name   string
		change func(*checkpoint.Content)
		want   string
	}{
		{"nothing", func(*checkpoint.Content) {}, ""},
		{"not finite", func(c *checkpoint.Content) { c.Tensors[0].Data[1] = float32(math.NaN()) }, ": s1.conv1.weight is not finite, at element 1\n"},
		{"none", func(c *checkpoint.Content) { c.Tensors = nil }, ": it says that it is of these units, and its weights are others: those of high/proj, low/proj, s1, s2, s3\n"},
		{"other shape", func(c *checkpoint.Content) { c.Tensors[0].Shape = []int{len(c.Tensors[0].Data)} }, ": it says that it is of these units, and its weights are others: those of s1\n"},
		{"too many", func(c *checkpoint.Content) {
			c.Tensors = append(c.Tensors, export.Tensor{Name: "s9.weight", Shape: []int{1}, DType: export.F32, Data: []float32{1}})
		}, ": it says that it is of these units, and its weights are others: those of s9\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), checkpoint.Name(5))
			writeChanged(t, filepath.Join(made, "checkpoints", checkpoint.Name(5)), path, c.change)
			code, _, errs := call(Env{}, "run", "--listen", "off", "--resume", path, "--out", t.TempDir(), tiny)
			if c.want == "" && code != 0 || c.want != "" && (code != exitWrong || !strings.HasSuffix(errs, path+c.want)) {
				t.Errorf("exit %d: %s", code, errs)
			}
			if code, out, errs := call(Env{}, "inspect", "--json", "--tensors", path); code != 0 || !json.Valid([]byte(out)) {
				t.Errorf("inspect: exit %d: %s", code, errs)
			}
		})
	}
}

// writeChanged writes a checkpoint changed.
func writeChanged(t *testing.T, from, to string, change func(*checkpoint.Content)) {
	t.Helper()
	have, err := openCheckpoint(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	change(have.content)
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Write(f, have.content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

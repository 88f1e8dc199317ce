package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/locorun/locorun/runtime/checkpoint"
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

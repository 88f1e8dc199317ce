package check

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
)

// changed is Base with a row's example in its place.
func changed(t *testing.T, r CodeRow) string {
	t.Helper()
	if r.Instead == "" {
		return Base + r.Example + "\n"
	}
	before, rest, ok := strings.Cut("\n"+Base, "\n"+r.Instead)
	if !ok {
		t.Fatalf("no line of Base begins with %q", r.Instead)
	}
	_, after, _ := strings.Cut(rest, "\n")
	return strings.TrimPrefix(before+"\n"+r.Example+"\n"+after, "\n")
}

// TestCodes checks that each example of the table gives its code and no
// further errors, and that Base is sound.
func TestCodes(t *testing.T) {
	rows := append([]CodeRow{{Meaning: "base"}}, Codes()...)
	for i, r := range rows {
		t.Run(string(r.Code)+" "+r.Meaning, func(t *testing.T) {
			if want := fmt.Sprintf("L%04d", 200+i); i > 0 && string(r.Code) != want {
				t.Errorf("code %s where %s is due", r.Code, want)
			}
			src := changed(t, r)
			f, list := dsl.Parse("base.loco", []byte(src))
			if len(list) > 0 {
				t.Fatal(list)
			}
			opt := Options{Std: std.Files, Method: r.Method, Defines: map[string]string{},
				Read: func(string) ([]byte, error) { return nil, fs.ErrNotExist }}
			if name, value, ok := strings.Cut(r.Define, "="); ok {
				opt.Defines[name] = value
			}
			net, list := Check(f, opt)
			if i == 0 {
				if net == nil || len(list) > 0 {
					t.Error(list)
				}
				return
			}
			if !onlyCode(list, r.Code) {
				t.Errorf("%s\ngives %v", src, list)
			}
			if (net == nil) != list.HasErrors() {
				t.Error("a net beside errors, or none without")
			}
		})
	}
}

// onlyCode reports whether the code is there and all else is warnings.
func onlyCode(list diag.List, code diag.Code) bool {
	found := false
	for _, d := range list {
		found = found || d.Code == code
		if d.Code != code && d.Severity == diag.Error {
			return false
		}
	}
	return found
}

package disk

import (
	"io"
	"slices"
	"testing"
)

// TestSub works in a directory of a tree and looks at it from the tree.
func TestSub(t *testing.T) {
	root, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.Mkdir("a"); err != nil {
		t.Fatal(err)
	}
	s := Sub(root, "a")
	write := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	if err := WriteFile(s, "x", write("one")); err != nil {
		t.Fatal(err)
	}
	f, err := s.Append("y")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Mkdir("b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("y"); err != nil {
		t.Fatal(err)
	}
	for _, list := range []func() ([]string, error){func() ([]string, error) { return s.List(".") }, func() ([]string, error) { return root.List("a") }} {
		if names, err := list(); err != nil || !slices.Equal(names, []string{"b", "x"}) {
			t.Errorf("it holds %v, %v", names, err)
		}
	}
	r, err := s.Open("x")
	if err != nil || r.Size() != 3 {
		t.Fatal(err)
	}
	_ = r.Close()
	if s.Close() != nil {
		t.Error("closing fails")
	}
	if _, err := root.List("a"); err != nil {
		t.Error("closing the part closed the whole")
	}
}

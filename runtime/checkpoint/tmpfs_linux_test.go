package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/export"
)

// TestFullDisk saves onto a file system that is really full: the save fails, the
// one before it verifies, nothing half-written stays, and once there is room
// again a save works.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a file system of its own needs the right to mount one: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	root, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &Store{FS: root}
	big := func(step int) *Content {
		c := sample(step)
		c.Tensors = append(c.Tensors, export.Tensor{Name: "large", Shape: []int{40_000}, Data: make([]float32, 40_000)})
		return c
	}
	for step := 1; step <= 2; step++ {
		if _, err := s.Save(big(step)); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	_, err = s.Save(big(3))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	if c, name, err := s.Newest(nil); err != nil || name != Name(2) || !equal(c, big(2)) {
		t.Errorf("on a full disk the newest is %s, %v", name, err)
	}
	if names, err := root.List("."); err != nil || len(names) != 3 {
		t.Errorf("left %v, %v", names, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(big(3)); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	holds(t, s, 2, 3)
}

// fill writes a file until no byte fits any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1 << 16; n > 0; {
		if _, err := f.Write(make([]byte, n)); errors.Is(err, syscall.ENOSPC) {
			n /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

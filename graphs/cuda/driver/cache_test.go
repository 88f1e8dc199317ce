package driver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// newImages is a cache of its own.
func newImages(t *testing.T) *Images { return &Images{filepath.Join(t.TempDir(), "locorun", "cuda")} }

// TestImagesFolder is the user's own.
func TestImagesFolder(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/some/where")
	c, err := OpenImages()
	if err != nil || !strings.HasSuffix(c.dir, filepath.Join("locorun", "cuda")) {
		t.Errorf("%v, %v", c, err)
	}
}

// TestImages keeps images by their keys.
func TestImages(t *testing.T) {
	c := newImages(t)
	if _, found := c.Get("a"); found {
		t.Error("an empty cache has something")
	}
	keys := []string{"a", "b", "nvrtc-13.2-sm_90-0123", "nvrtc-13.2/sm_90-0123", "nvrtc-13.2:sm_90-0123", "", strings.Repeat("x", 300), strings.Repeat("x", 301), "ключ"}
	for i, k := range keys {
		c.Put(k, fmt.Append(nil, "image ", i))
	}
	c.Put("a", []byte("another"))
	for i, k := range keys {
		want := fmt.Sprint("image ", i)
		if k == "a" {
			want = "another"
		}
		if got, found := c.Get(k); !found || string(got) != want {
			t.Errorf("%q has %q, %v", k, got, found)
		}
	}
}

// TestImagesDamaged breaks a file each way; it is no image then, and is replaced.
func TestImagesDamaged(t *testing.T) {
	image := bytes.Repeat([]byte("image"), 100)
	for name, damage := range map[string]func(text []byte) []byte{
		"cut off":         func(b []byte) []byte { return b[:len(b)-1] },
		"cut in its head": func(b []byte) []byte { return b[:10] },
		"empty":           func([]byte) []byte { return nil },
		"longer":          func(b []byte) []byte { return append(b, 0) },
		"a bit":           func(b []byte) []byte { b[200] ^= 1; return b },
		"a bit of sum":    func(b []byte) []byte { b[len(imageKind)] ^= 1; return b },
		"another kind":    func(b []byte) []byte { b[0] ^= 1; return b },
		"another key's":   func([]byte) []byte { return append(seal("other", image), image...) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newImages(t)
			c.Put("key", image)
			text, err := os.ReadFile(c.file("key"))
			ok(t, err)
			ok(t, os.WriteFile(c.file("key"), damage(text), 0o600))
			if _, found := c.Get("key"); found {
				t.Error("found all the same")
			}
			c.Put("key", image)
			if got, found := c.Get("key"); !found || !bytes.Equal(got, image) {
				t.Error("not replaced")
			}
		})
	}
}

// TestImagesBounded throws away what was used longest ago, and what nobody
// finished; other files stay.
func TestImagesBounded(t *testing.T) {
	c := newImages(t)
	ok(t, os.MkdirAll(c.dir, 0o700))
	old := time.Now().Add(-2 * stale)
	for _, name := range []string{".new-1", "notes"} {
		ok(t, os.WriteFile(filepath.Join(c.dir, name), nil, 0o600))
		ok(t, os.Chtimes(filepath.Join(c.dir, name), old, old))
	}
	ok(t, os.WriteFile(filepath.Join(c.dir, ".new-2"), nil, 0o600))
	for i := range mostImages {
		c.Put(fmt.Sprint("key", i), []byte("image"))
		at := old.Add(time.Duration(i) * time.Second)
		ok(t, os.Chtimes(c.file(fmt.Sprint("key", i)), at, at))
	}
	c.Get("key0")
	c.Put("one more", []byte("image"))
	for key, want := range map[string]bool{"key0": true, "key1": false, "key2": true, "one more": true} {
		if _, found := c.Get(key); found != want {
			t.Errorf("%s is there: %v", key, found)
		}
	}
	left := strings.Builder{}
	entries, err := os.ReadDir(c.dir)
	ok(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), imageSuffix) {
			left.WriteString(e.Name() + " ")
		}
	}
	if len(entries) != mostImages+2 || left.String() != ".new-2 notes " {
		t.Errorf("%d files; beside images: %s", len(entries), left.String())
	}
}

// TestImagesTogether puts and gets from several goroutines.
func TestImagesTogether(t *testing.T) {
	c := newImages(t)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 20 {
				image := bytes.Repeat([]byte{byte(g)}, 1000+i)
				c.Put("key", image)
				if got, found := c.Get("key"); found && bytes.Count(got, got[:1]) != len(got) {
					t.Error("an image of two")
				}
			}
		})
	}
	all.Wait()
}

// TestImagesNowhere keeps nothing where nothing can be written, and says so to
// nobody.
func TestImagesNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	c := &Images{filepath.Join(file, "cuda")}
	c.Put("key", []byte("image"))
	if _, found := c.Get("key"); found {
		t.Error("found")
	}
}

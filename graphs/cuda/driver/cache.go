package driver

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Images keeps compiled images in a folder, a file for each, so that a kernel is
// compiled once. A file is a line that names its kind, the SHA-256 of key and
// image, the image. What is not whole is no image. The folder holds a bounded
// number: those used longest ago go first. Several processes may share it.
type Images struct{ dir string }

const (
	imageKind   = "locorun cuda image 1\n"
	imageSuffix = ".image"
	mostImages  = 16
	largest     = 256 << 20 // bytes of an image
)

// OpenImages gives the user's own folder of images, which is made when something
// is put into it.
func OpenImages() (*Images, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return &Images{filepath.Join(dir, "locorun", "cuda")}, nil
}

// file names an image's file: the key where a file can be called so, and always
// enough of its hash to tell keys apart.
func (c *Images) file(key string) string {
	h := sha256.Sum256([]byte(key))
	name := strings.Map(func(r rune) rune {
		if r < 128 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
			return r
		}
		return '_'
	}, key)
	return filepath.Join(c.dir, name[:min(len(name), 80)]+"-"+hex.EncodeToString(h[:6])+imageSuffix)
}

// seal is what an image begins with.
func seal(key string, image []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(key), key)
	h.Write(image)
	return h.Sum([]byte(imageKind))
}

// Get gives what was put for a key, where it is there and whole.
func (c *Images) Get(key string) ([]byte, bool) {
	name := c.file(key)
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || info.Size() > largest {
		return nil, false
	}
	text, err := os.ReadFile(name)
	head := len(imageKind) + sha256.Size
	if err != nil || len(text) < head || !bytes.Equal(text[:head], seal(key, text[head:])) {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // when it was used decides only what is thrown away
	return text[head:], true
}

// Put keeps an image. It tells of no failure: without it the kernel is compiled
// again. A reader sees the whole file or none.
func (c *Images) Put(key string, image []byte) {
	if os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return
	}
	_, err = f.Write(append(seal(key, image), image...))
	if err == nil {
		err = f.Sync()
	}
	if also := f.Close(); err == nil {
		err = also
	}
	if err == nil {
		err = os.Rename(f.Name(), c.file(key))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // trim finds it otherwise
	}
	c.trim()
}

// stale is the age at which a file that was not finished belongs to nobody.
const stale = time.Hour

// trim throws away what is too much or was left behind.
func (c *Images) trim() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var images []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasSuffix(e.Name(), imageSuffix):
			images = append(images, info)
		case strings.HasPrefix(e.Name(), ".new-") && time.Since(info.ModTime()) > stale:
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
	slices.SortStableFunc(images, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, info := range images[min(len(images), mostImages):] {
		_ = os.Remove(filepath.Join(c.dir, info.Name()))
	}
}

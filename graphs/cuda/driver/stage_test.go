package driver

import (
	"bytes"
	"testing"
	"unsafe"
)

// TestUploadsOfStreams: a stream whose copies wait holds no other's up. The card
// works only when somebody waits for it, so that what is there shows who did.
func TestUploadsOfStreams(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s, u := must(d.NewStream())(t), must(d.NewStream())(t)
	src := content(1, 300)
	p := must(d.Alloc(300))(t)
	there := unsafe.Slice((*byte)(pointer(uintptr(p))), 300)
	for range smallSlots {
		ok(t, d.Upload(p, src, s))
	}
	q := must(d.Alloc(300))(t)
	for range smallSlots {
		ok(t, d.Upload(q, src, u))
	}
	if bytes.Equal(there, src) {
		t.Error("a stream's Upload waited for another stream")
	}
	ok(t, d.Upload(p, src, s)) // as many as there are slots, and one
	if !bytes.Equal(there, src) {
		t.Error("an Upload has not waited for its slot")
	}
}

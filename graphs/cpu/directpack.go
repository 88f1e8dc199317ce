package cpu

import (
	"sync"

	"github.com/locorun/locorun/graphs/device"
)

// Packed weights are kept until the weights change: a stage runs forward and
// is swept several times between two updates, for each microbatch and for each
// loss that reaches it.

// packKey says which weights are packed, and how.
type packKey struct {
	buffer       *Buffer
	from, to     int64 // bytes
	grad         bool  // for the input gradient
	kh, kw       int
	stride, pad  int // they matter to the input gradient only
	h, w         int // likewise: fewer pixels than the stride
	cg, k, group int
}

// pack is packed weights.
type pack struct {
	key   packKey
	all   []byte // as the system gave it
	mem   []float32
	mu    sync.Mutex // held while packing
	valid bool
}

// packs are a backend's packed weights, by the buffer that holds the weights.
type packs struct {
	mu       sync.Mutex
	byKey    map[packKey]*pack
	byBuffer map[*Buffer][]*pack
	bytes    int64
}

// packed is the weights of argument i, packed as fill does it to size elements.
func (r *run) packed(i int, g geometry, grad bool, size int, fill func([]float32) error) ([]float32, error) {
	w := r.call.In[i]
	key := packKey{
		buffer: w.Buffer.(*Buffer), from: w.Offset, to: w.Offset + w.Bytes(), grad: grad,
		kh: g.kh, kw: g.kw, cg: g.cg, k: g.k, group: g.groups,
	}
	if grad {
		key.stride, key.pad, key.h, key.w = g.stride, g.pad, min(g.h, g.stride), min(g.w, g.stride)
	}
	p, err := r.b.packs.get(key, size)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.valid {
		if err := fill(p.mem); err != nil {
			return nil, err
		}
		p.valid = true
	}
	return p.mem, nil
}

// get finds packed weights, or memory for them.
func (s *packs) get(key packKey, size int) (*pack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.byKey[key]; ok {
		return p, nil
	}
	all, err := pages(4*size + align)
	if err != nil {
		return nil, err
	}
	p := &pack{key: key, all: all, mem: typed[float32](alignedPart(all, 4*size))}
	if s.byKey == nil {
		s.byKey, s.byBuffer = map[packKey]*pack{}, map[*Buffer][]*pack{}
	}
	s.byKey[key] = p
	s.byBuffer[key.buffer] = append(s.byBuffer[key.buffer], p)
	s.bytes += int64(len(all))
	return p, nil
}

// written marks what was packed from the memory of a tensor as stale.
func (s *packs) written(t device.Tensor) {
	b, ok := t.Buffer.(*Buffer)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byBuffer[b] {
		if p.key.from < t.Offset+t.Bytes() && t.Offset < p.key.to {
			p.mu.Lock()
			p.valid = false
			p.mu.Unlock()
		}
	}
}

// forget gives the memory of what was packed from a buffer back.
func (s *packs) forget(b *Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byBuffer[b] {
		delete(s.byKey, p.key)
		s.bytes -= int64(len(p.all))
		giveBack(p.all)
	}
	delete(s.byBuffer, b)
}

// held is the number of bytes of packed weights.
func (s *packs) held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

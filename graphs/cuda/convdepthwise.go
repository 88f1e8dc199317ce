package cuda

import "github.com/locorun/locorun/graphs/cuda/driver"

const (
	sumChannels = 32 // channels of a block that adds pixels
	tapsOnce    = 9  // CONV_TAPS of conv_depthwise.cu
)

// turned is depthwise weights with the channels beside each other.
func (r *run) turned(g geometry, w driver.Pointer) (driver.Pointer, error) {
	to, err := r.scratch(slotTurned, 4*g.weights())
	if err != nil {
		return 0, err
	}
	return to, r.each("conv_turn", g.weights(), uint64(w), uint64(to), i32(g.taps()), i32(g.c), i64(g.weights()))
}

// windowWords is the geometry without the number of pictures, with one number of
// channels.
func (g geometry) windowWords() []uint64 {
	words := g.words()
	return append(words[1:6:6], words[7:11]...)
}

func (r *run) convDepthwise(g geometry, x, w, bias, y driver.Pointer) error {
	turned, err := r.turned(g, w)
	if err != nil {
		return err
	}
	read, err := r.readWords(g)
	if err != nil {
		return err
	}
	n, wide := g.pixels()*g.k, quads(g.c, x, y)
	args := append([]uint64{uint64(x), uint64(turned), uint64(bias), uint64(y)}, read...)
	args = append(append(args, flag(wide)), g.windowWords()...)
	return r.each("conv_depthwise", width(n, wide), append(args, i64(n))...)
}

func (r *run) convInputDepthwise(g geometry, dy, w, dx, more driver.Pointer) error {
	turned, err := r.turned(g, w)
	if err != nil {
		return err
	}
	n, wide := g.n*g.h*g.w*g.c, quads(g.c, dy, dx, more)
	args := []uint64{uint64(dy), uint64(turned), uint64(more), uint64(dx), flag(wide)}
	args = append(args, g.windowWords()...)
	return r.each("conv_depthwise_input", width(n, wide), append(args, i64(n))...)
}

// width is the number of threads that n elements take.
func width(n int, wide bool) int {
	if wide {
		return n / 4
	}
	return n
}

func (r *run) convWeightDepthwise(g geometry, x, dy, dw driver.Pointer) error {
	read, err := r.readWords(g)
	if err != nil {
		return err
	}
	blocks := parts(g.c, sumChannels) * parts(g.taps(), tapsOnce)
	s := cut(g.pixels(), blocks, 64)
	partials, err := r.scratch(slotPartials, 4*s.count*g.weights())
	if err != nil {
		return err
	}
	args := append([]uint64{uint64(x), uint64(dy), uint64(partials)}, read...)
	args = append(append(args, i64(s.length), i32(g.n)), g.windowWords()...)
	if err := r.line("conv_depthwise_weight", blocks*s.count, args...); err != nil {
		return err
	}
	return r.join(dw, partials, s.count, g.weights())
}

// biasGradient adds the sums of dy over all pixels to dbias.
func (r *run) biasGradient(g geometry, dy, dbias driver.Pointer) error {
	blocks := parts(g.k, sumChannels)
	s := cut(g.pixels(), blocks, 128)
	partials, err := r.scratch(slotPartials, 4*s.count*g.k)
	if err != nil {
		return err
	}
	if err := r.line("conv_bias", blocks*s.count, uint64(dy), uint64(partials), i64(s.length), i32(g.k), i64(g.pixels())); err != nil {
		return err
	}
	return r.join(dbias, partials, s.count, g.k)
}

package source

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// shapes is synthetic(shapes): pictures drawn when asked for, each a function
// of (Source.Seed, index). What a picture shows decides its class; how it shows
// it does not:
//
//	class      outline of the one large figure; beyond the outlines there are,
//	           outline and the pattern its inside is filled with
//	nuisance   colours of figure and ground, and which of them is the brighter;
//	           place, size, a turn of up to 20 degrees; waves in the ground,
//	           a pattern in the figure; light from one side; smaller figures and
//	           lines lying about; noise
//
// So a pixel says little about the class, nor does a colour or a pattern of
// edges without a place; what is left when crops, flips and changes of colour
// are taken away is the outline. Views that take colours away well (jitter with
// hue=0.5, grey with p=0.5) teach it soonest: pairs of hues are what tells two
// pictures apart most easily.
//
// Picture i is of class i modulo the number of classes. The Fingerprint is the
// settings. Where all pictures fit into keptShapes they are drawn once.
type shapes struct {
	seed    uint64
	n       int
	shape   model.Shape
	classes []string
	drawn   []atomic.Pointer[[]uint8] // by picture; empty where none are kept
}

// keptShapes is the most memory, in bytes, that drawn pictures take.
const keptShapes = 64 << 20

const (
	minShapesSide = 8
	maxShapesSide = 1024
)

func openShapes(s *model.Source, _ Options) (Dataset, error) {
	most := len(outlines) * len(patterns)
	h, w := s.Size[0], s.Size[1]
	switch {
	case s.N < 1:
		return nil, fmt.Errorf("synthetic(shapes) of %d pictures", s.N)
	case s.Classes < 2 || s.Classes > most:
		return nil, fmt.Errorf("synthetic(shapes) has 2 to %d classes, not %d", most, s.Classes)
	case min(h, w) < minShapesSide || max(h, w) > maxShapesSide:
		return nil, fmt.Errorf("synthetic(shapes) of %dx%d pixels: sides are %d to %d", h, w, minShapesSide, maxShapesSide)
	}
	d := &shapes{seed: s.Seed, n: s.N, shape: model.Shape{H: h, W: w, C: 3}}
	for class := range s.Classes {
		d.classes = append(d.classes, className(class, s.Classes))
	}
	if d.n <= keptShapes/d.shape.Elements() {
		d.drawn = make([]atomic.Pointer[[]uint8], d.n)
	}
	return d, nil
}

// className is "star", or "star checks" where the pattern counts.
func className(class, classes int) string {
	name := outlines[class%len(outlines)].name
	if classes <= len(outlines) {
		return name
	}
	return name + " " + patterns[class/len(outlines)].name
}

func (d *shapes) Len() int           { return d.n }
func (d *shapes) Shape() model.Shape { return d.shape }
func (d *shapes) Classes() []string  { return d.classes }
func (d *shapes) Label(i int) int    { return i % len(d.classes) }
func (d *shapes) Close() error       { return nil }

func (d *shapes) Fingerprint() string {
	return fmt.Sprintf("synthetic(shapes, seed=%d, n=%d, classes=%d, size=%dx%d, drawing=%d)",
		d.seed, d.n, len(d.classes), d.shape.H, d.shape.W, drawing)
}

// drawing is the number of the way pictures are drawn; it goes up when the same
// settings draw others.
const drawing = 1

func (d *shapes) Picture(i int) (Picture, error) {
	if len(d.drawn) == 0 {
		return d.draw(i), nil
	}
	if pix := d.drawn[i].Load(); pix != nil {
		return Picture{H: d.shape.H, W: d.shape.W, C: 3, Pix: *pix}, nil
	}
	p := d.draw(i)
	d.drawn[i].Store(&p.Pix)
	return p, nil
}

func (d *shapes) draw(i int) Picture {
	r := rng.New(d.seed, "shapes", uint64(i))
	s := newScene(&r, d.shape.H, d.shape.W)
	s.ground(&r)
	s.clutter(&r)
	s.figure(&r, d.Label(i), len(d.classes))
	return s.develop(&r)
}

// scene is a picture being drawn: colours from 0 to 1, not yet rounded.
// Lengths are in units of half the shorter side.
type scene struct {
	h, w int
	unit float64 // pixels
	pix  []float32
	back tone // of the ground
	fore tone // of the figure
}

// tone is a colour and its brightness.
type tone struct {
	rgb  [3]float32
	luma float64
}

func newScene(r *rng.Stream, h, w int) *scene {
	s := &scene{h: h, w: w, unit: float64(min(h, w)) / 2, pix: make([]float32, 3*h*w)}
	s.back = newTone(r, r.Uniform(0.15, 0.85))
	s.fore = newTone(r, apart(r, s.back.luma))
	return s
}

// apart draws a brightness that the eye tells from another: brighter or darker
// by 0.3 to 0.55, on the side that has room, either where both do.
func apart(r *rng.Stream, from float64) float64 {
	by := r.Uniform(0.3, 0.55)
	up := r.Coin(0.5)
	switch {
	case from+by > 0.95:
		up = false
	case from-by < 0.05:
		up = true
	}
	if up {
		return min(from+by, 1)
	}
	return max(from-by, 0)
}

// newTone draws a colour of a brightness: any hue, any strength that fits.
func newTone(r *rng.Stream, brightness float64) tone {
	hue, strength := float32(r.Uniform(-0.5, 0.5)), float32(r.Uniform(0.2, 1))
	red, green, blue := turned(1, 0, 0, hue)
	pure := [3]float32{red, green, blue}
	mean, grey := luma(red, green, blue), float32(brightness)
	fit := strength // so that grey + fit*(pure - mean) stays in [0, 1]
	for _, v := range pure {
		if v > mean {
			fit = min(fit, (1-grey)/(v-mean))
		} else if v < mean {
			fit = min(fit, grey/(mean-v))
		}
	}
	t := tone{luma: brightness}
	for c, v := range pure {
		t.rgb[c] = grey + fit*(v-mean)
	}
	return t
}

// mix lays colour over the pixel at i.
func (s *scene) mix(i int, rgb [3]float32, share float32) {
	p := s.pix[i : i+3 : i+3]
	for c := range p {
		p[c] += share * (rgb[c] - p[c])
	}
}

// ground fills the scene with the ground's colour and two waves across it.
func (s *scene) ground(r *rng.Stream) {
	height := float32(r.Uniform(0, 0.07))
	for i := 0; i < len(s.pix); i += 3 {
		copy(s.pix[i:], s.back.rgb[:])
	}
	for range 2 {
		s.wave(height, r)
	}
}

// wave adds a sine across the picture, of any direction, half a turn to three
// turns long. The sine of a sum of angles comes from those of the row's and the
// column's.
func (s *scene) wave(height float32, r *rng.Stream) {
	direction, turns, phase := r.Uniform(0, 2*math.Pi), r.Uniform(0.5, 3), r.Uniform(0, 2*math.Pi)
	k := math.Pi * turns / s.unit
	across := make([][2]float32, s.w)
	for x := range across {
		sin, cos := math.Sincos(k * math.Cos(direction) * float64(x))
		across[x] = [2]float32{height * float32(sin), height * float32(cos)}
	}
	for y := range s.h {
		sin, cos := math.Sincos(k*math.Sin(direction)*float64(y) + phase)
		row := s.pix[3*y*s.w:][:3*s.w]
		for x, a := range across {
			v := a[0]*float32(cos) + a[1]*float32(sin)
			row[3*x] += v
			row[3*x+1] += v
			row[3*x+2] += v
		}
	}
}

// clutter lays small discs, squares and lines about, in colours of their own
// that stand out less than the figure.
func (s *scene) clutter(r *rng.Stream) {
	for range r.Intn(5) {
		t := newTone(r, clampTo(s.back.luma+r.Uniform(-0.25, 0.25), 0.05, 0.95))
		p := pose{
			x: r.Uniform(0, float64(s.w)), y: r.Uniform(0, float64(s.h)),
			size: s.unit * r.Uniform(0.08, 0.18),
		}
		p.turn(r.Uniform(-math.Pi, math.Pi))
		inside := [...]func(x, y float64) float64{disc, square, line}[r.Intn(3)]
		s.draw(p, 4, inside, func(_, _ float64) [3]float32 { return t.rgb })
	}
}

func clampTo(v, lo, hi float64) float64 { return max(lo, min(v, hi)) }

// figure draws what the picture is of.
func (s *scene) figure(r *rng.Stream, class, classes int) {
	const mostTurn = 20 * math.Pi / 180
	p := pose{size: s.unit * r.Uniform(0.5, 0.8)}
	p.x = float64(s.w)/2 + (float64(s.w)/2-p.size)*r.Uniform(-0.9, 0.9)
	p.y = float64(s.h)/2 + (float64(s.h)/2-p.size)*r.Uniform(-0.9, 0.9)
	p.turn(r.Uniform(-mostTurn, mostTurn))
	fill, depth := r.Intn(len(patterns)), float32(r.Uniform(0, 0.35))
	if classes > len(outlines) {
		fill, depth = class/len(outlines), 0.6
	}
	inside, at := patterns[fill].at, r.Uniform(0, 1)
	s.draw(p, 1.5, outlines[class%len(outlines)].distance, func(x, y float64) [3]float32 {
		rgb, share := s.fore.rgb, depth*float32(inside(x+at, y+at))
		for c := range rgb {
			rgb[c] += share * (s.back.rgb[c] - rgb[c])
		}
		return rgb
	})
}

// pose is where a figure lies: its middle and size in pixels and its turn.
type pose struct{ x, y, size, cos, sin float64 }

func (p *pose) turn(by float64) { p.cos, p.sin = math.Cos(by), math.Sin(by) }

// draw lays a figure over the scene. Its distance function speaks of a figure
// of size 1 that lies within reach of its middle; edges are as soft as a pixel
// is wide.
func (s *scene) draw(p pose, reach float64, distance func(x, y float64) float64, rgb func(x, y float64) [3]float32) {
	around := reach*p.size + 1
	x0, x1 := max(0, int(p.x-around)), min(s.w-1, int(p.x+around))
	y0, y1 := max(0, int(p.y-around)), min(s.h-1, int(p.y+around))
	for y := y0; y <= y1; y++ {
		for x := x0; x <= x1; x++ {
			dx, dy := (float64(x)+0.5-p.x)/p.size, (float64(y)+0.5-p.y)/p.size
			u, v := p.cos*dx+p.sin*dy, p.cos*dy-p.sin*dx
			if cover := 0.5 - distance(u, v)*p.size; cover > 0 {
				s.mix(3*(y*s.w+x), rgb(u, v), float32(min(cover, 1)))
			}
		}
	}
}

// develop lights the scene from one side, adds noise and rounds. The noise is a
// sum of four uniform bytes, near enough a normal distribution.
func (s *scene) develop(r *rng.Stream) Picture {
	direction, strength := r.Uniform(0, 2*math.Pi), r.Uniform(0, 0.3)
	lx, ly := strength*math.Cos(direction)/float64(s.w), strength*math.Sin(direction)/float64(s.h)
	level := float32(r.Uniform(0.005, 0.04)) / 147.8 // deviation of the sum
	p := Picture{H: s.h, W: s.w, C: 3, Pix: make([]uint8, len(s.pix))}
	var word uint64
	for y := range s.h {
		for x := range s.w {
			light := float32(1 + lx*float64(2*x-s.w) + ly*float64(2*y-s.h))
			for i := 3 * (y*s.w + x); i < 3*(y*s.w+x+1); i++ {
				if word >>= 32; i&1 == 0 {
					word = r.Uint64()
				}
				sum := int(word&255 + word>>8&255 + word>>16&255 + word>>24&255)
				p.Pix[i] = uint8(0.5 + 255*clamp01(s.pix[i]*light+level*float32(sum-510)))
			}
		}
	}
	return p
}

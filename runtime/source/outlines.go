package source

import "math"

// outline is a figure of size about 1 around its middle: distance is below 0
// inside, and near the edge the distance to it (I. Quilez, "2D distance
// functions", gives the method: fold by symmetry, then measure).
type outline struct {
	name     string
	distance func(x, y float64) float64
}

// outlines are the figures of synthetic(shapes), y downwards. They are chosen
// to stay apart under a flip and a turn of 20 degrees.
var outlines = [...]outline{
	{"disc", disc},
	{"square", square},
	{"triangle", func(x, y float64) float64 { return polygon(x, y, 3, 0.55) }},
	{"cross", func(x, y float64) float64 {
		return min(box(x, y, 0.95, 0.3), box(x, y, 0.3, 0.95))
	}},
	{"ring", func(x, y float64) float64 { return math.Abs(math.Hypot(x, y)-0.7) - 0.2 }},
	{"star", star},
	{"bars", func(x, y float64) float64 { return box(math.Abs(x)-0.55, y, 0.22, 0.9) }},
	{"crescent", func(x, y float64) float64 {
		return max(math.Hypot(x, y)-0.92, 0.72-math.Hypot(x, y+0.45))
	}},
	{"hourglass", func(x, y float64) float64 {
		return max((math.Abs(x)-math.Abs(y)*0.95-0.06)*0.72, math.Abs(y)-0.9)
	}},
	{"frame", func(x, y float64) float64 { return math.Abs(box(x, y, 0.62, 0.62)) - 0.18 }},
	{"arrow", func(x, y float64) float64 {
		head := max((math.Abs(x)-(y+0.95)*0.85)*0.76, y-0.05)
		return min(head, box(x, y-0.45, 0.24, 0.5))
	}},
	{"dots", func(x, y float64) float64 {
		return min(math.Hypot(math.Abs(x)-0.52, y-0.42)-0.38, math.Hypot(x, y+0.5)-0.38)
	}},
	{"ex", func(x, y float64) float64 {
		u, v := (x+y)*math.Sqrt2/2, (x-y)*math.Sqrt2/2
		return min(box(u, v, 1.05, 0.22), box(u, v, 0.22, 1.05))
	}},
	{"tee", func(x, y float64) float64 {
		return min(box(x, y+0.62, 0.9, 0.27), box(x, y-0.1, 0.27, 0.85))
	}},
	{"dome", func(x, y float64) float64 { return max(math.Hypot(x, y-0.4)-0.98, y-0.45) }},
	{"chevron", func(x, y float64) float64 {
		return max((math.Abs(y+0.45-math.Abs(x))-0.42)*0.71, math.Abs(x)-0.9)
	}},
	{"aitch", func(x, y float64) float64 {
		return min(box(math.Abs(x)-0.65, y, 0.22, 0.9), box(x, y, 0.65, 0.2))
	}},
	{"mouth", func(x, y float64) float64 { return max(math.Hypot(x, y)-0.92, (math.Abs(x)-(y-0.1)*0.9)*-0.74) }},
	{"kite", func(x, y float64) float64 { return (math.Abs(x)*1.6 + math.Abs(y) - 0.98) * 0.53 }},
	{"stairs", func(x, y float64) float64 {
		x = math.Abs(x)
		return min(box(x, y-0.6, 0.92, 0.3), box(x, y, 0.6, 0.31), box(x, y+0.6, 0.28, 0.31))
	}},
}

func disc(x, y float64) float64   { return math.Hypot(x, y) - 0.85 }
func square(x, y float64) float64 { return box(x, y, 0.78, 0.78) }
func line(x, y float64) float64   { return box(x, y, 3, 0.25) }

// box is a rectangle of half sides a and b.
func box(x, y, a, b float64) float64 {
	dx, dy := math.Abs(x)-a, math.Abs(y)-b
	return math.Hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0)
}

// polygon is a regular polygon of n sides that lie r from the middle, a corner
// at the top.
func polygon(x, y float64, n int, r float64) float64 {
	sector := 2 * math.Pi / float64(n)
	angle := math.Atan2(x, -y) // from the top
	angle -= sector * (math.Floor(angle/sector) + 0.5)
	return math.Hypot(x, y)*math.Cos(angle) - r
}

// star has five points at 1 and five notches at 0.42.
func star(x, y float64) float64 {
	const sector, notch = 2 * math.Pi / 5, 0.42
	angle := math.Atan2(x, -y)
	angle = math.Abs(angle - sector*math.Round(angle/sector)) // from the nearest point
	px, py := math.Hypot(x, y)*math.Cos(angle), math.Hypot(x, y)*math.Sin(angle)
	ex, ey := notch*math.Cos(sector/2)-1, notch*math.Sin(sector/2) // the edge from point to notch
	return ((px-1)*ey - py*ex) / math.Hypot(ex, ey)
}

// pattern is what a figure may be filled with: the share of the ground's
// colour, 0 or 1 with soft edges.
type pattern struct {
	name string
	at   func(x, y float64) float64
}

var patterns = [...]pattern{
	{"plain", func(_, _ float64) float64 { return 0 }},
	{"stripes", func(_, y float64) float64 { return soft(math.Sin(7 * y)) }},
	{"pales", func(x, _ float64) float64 { return soft(math.Sin(7 * x)) }},
	{"checks", func(x, y float64) float64 { return soft(2 * math.Sin(6*x) * math.Sin(6*y)) }},
}

// soft is a step from 0 to 1 around 0.
func soft(v float64) float64 { return max(0, min(0.5+2*v, 1)) }

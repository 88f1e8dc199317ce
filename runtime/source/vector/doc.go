// Package vector is the inner loops of views: what is done to every pixel of a
// picture, in plain Go and in assembly for AVX2 and AVX-512.
//
//	bytes --Expand--> planes --Columns, Rows--> planes of another size
//	planes --Affine, Saturate, Hue, Luma, Blur--> planes
//	planes --Write--> float32, H x W x C
//
// Pictures lie in planes, one a channel: rows of float32, stride elements
// apart. All loops go over blocks of 16 elements (Block), so that a row's last
// block may reach beyond the picture: memory for it, and for the reads named at
// each loop, is the caller's to give. What lies there is never seen in a result.
//
// What always holds: a tier changes the time, never a bit. Products are rounded
// before they are added, sums have one order; the tests hold the tiers to each
// other. Pictures hold no NaN and no negative zero.
package vector

//go:generate go -C gen run . -family views -pkg vector -out ../views_amd64.s -stubs ../views_amd64.go
//go:generate go -C gen run . -family tiers -out ../tiers_amd64.go

// Block is the number of elements that loops go over at once.
const Block = 16

// Blocks is the number of blocks that hold n elements.
func Blocks(n int) int { return (n + Block - 1) / Block }

// ends holds the masks of all lengths.
var ends = [2 * Block]int32{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}

// Mask says which elements of the last block of n exist: -1, else 0. It is to be
// read only.
func Mask(n int) []int32 {
	from := Blocks(n)*Block - n
	return ends[from : from+Block : from+Block]
}

// Room is how many elements beyond the last row of a plane may be read.
const Room = 64

// Tier is a set of loops. The zero Tier is plain Go.
type Tier uint8

// The tiers, slowest first.
const (
	Portable Tier = iota
	AVX2
	AVX512
)

// String is the tier's name.
func (t Tier) String() string { return [...]string{"portable", "avx2", "avx512"}[t] }

// Best is the fastest tier of this processor.
func Best() Tier {
	tiers := Tiers()
	return tiers[len(tiers)-1]
}

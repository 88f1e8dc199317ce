package device

// Viewer is a Backend or a Lane that makes views of pictures: what data loaders do
// to every pixel, done where the result is needed. The lanes of a Laned Viewer are
// Viewers.
type Viewer interface {
	// Views writes view i of w to row i of to, which is [views, H, W, C] of F32 or
	// BF16, for every row. It is a Write as far as order goes, and returns when w may
	// be used again. What it cannot make, or makes no sense, is an error, and nothing
	// is written.
	//
	// The same pictures and steps give the same bytes, on one kind of device; they
	// are no function of what else is in w.
	Views(to Tensor, w *Views) error
}

// What a Viewer makes views of, so that its memory is bounded. What is beyond is
// made elsewhere and handed over as View.Made.
const (
	// MostViewSide is the largest height or width that a picture has before, after
	// or between steps.
	MostViewSide = 1<<14 - 1
	// MostViewValues bounds H x W x 3 after every step, and for a Resample the
	// larger of the heights before and after by the larger of the widths by 3: how
	// long it takes.
	MostViewValues = 8 << 20
	// MostViewerBytes bounds the memory that a Viewer holds beside the pictures.
	MostViewerBytes = 272 << 20
)

// Views is the views of a microbatch.
type Views struct {
	Pictures []Picture
	Views    []View
	// Last of all, a value x of channel c becomes (x - Mean[c]) * Scale[c].
	Mean, Scale [3]float32
}

// Picture is H x W pixels of C channels (1 grey, 3 red-green-blue), row by row, the
// channels of a pixel side by side.
type Picture struct {
	H, W, C int
	Pix     []byte
}

// View is what is done to a picture, on values in [0, 1]. In order: the steps;
// the tensor's number of channels, after the first step that is a Resample or
// before the first that is none (grey repeated, or 0.299, 0.587 and 0.114 of red,
// green and blue); Mean and Scale.
type View struct {
	Picture int // index into Pictures
	Steps   []ViewStep
	// Made, where it is not nil, is the view as it is to be written, in place of all
	// else: H x W x C float32, little-endian.
	Made []byte
}

// ViewStep is one step. Of its numbers those count that its Kind names.
type ViewStep struct {
	Kind ViewKind
	// ViewResample: the window of CutH x CutW pixels from row Y and column X on
	// becomes H x W pixels, by a triangle filter (half-pixel centres) that is as wide
	// as the step between the samples where it shrinks; left and right change places
	// where Mirrored.
	Y, X, CutH, CutW int
	H, W             int
	Mirrored         bool
	// ViewBrightness, ViewContrast, ViewSaturate: the factor. ViewHue: what is added,
	// in whole turns, from -1/2 to 1/2.
	F float32
	// ViewBlur: half of a symmetric kernel, the weights at 0, 1, 2, ... pixels from
	// its middle.
	Kernel []float32
}

// ViewKind is what a ViewStep does.
type ViewKind uint8

// The kinds. Saturate, Hue and Grey leave a view of one channel alone.
const (
	ViewResample   ViewKind = iota
	ViewBrightness          // v*F, clamped to [0, 1]
	ViewContrast            // v*F + (1-F)*mean of the picture's grey, clamped
	ViewSaturate            // v*F + (1-F)*the pixel's grey, clamped
	ViewHue                 // F of a turn on the hexcone
	ViewGrey                // three channels of grey
	ViewBlur                // along rows, then columns; mirrored at the first and last pixel
)

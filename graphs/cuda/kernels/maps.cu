// Ops that move channels and pixels of maps about: a thread has a channel, or
// four, of an output row and gathers what it reads, so that writes are coalesced
// and nothing is added by two threads. Bound by memory.

// y's channels from y0 on are x's from x0 on, c of them: split and concat.
template <int V> __device__ void channels_of(const map_t *x, map_t *y, int rows, int c, int cx, int x0, int cy, int y0) {
  int ch = CHANNEL(V);
  if (ch >= c) return;
  float v[V];
  ROWS(p, rows) {
    load<V>(x + (ll)p * cx + x0 + ch, v);
    store<V>(y + (ll)p * cy + y0 + ch, v);
  }
}

extern "C" __global__ void channels(const map_t *x, map_t *y, int rows, int c, int cx, int x0, int cy, int y0) {
  channels_of<1>(x, y, rows, c, cx, x0, cy, y0);
}
extern "C" __global__ void channels4(const map_t *x, map_t *y, int rows, int c, int cx, int x0, int cy, int y0) {
  channels_of<4>(x, y, rows, c, cx, x0, cy, y0);
}

// Channel g*(c/groups)+i goes to i*groups+g.
extern "C" __global__ void shuffle(const map_t *x, map_t *y, int rows, int c, int groups) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  int from = ch % groups * (c / groups) + ch / groups;
  ROWS(p, rows) y[(ll)p * c + ch] = x[(ll)p * c + from];
}

// A row of a map of h x w as its picture and place.
struct Pixel {
  unsigned picture;
  int i, j;
};

__device__ __forceinline__ Pixel pixel_of(unsigned row, int h, int w) {
  unsigned line = row / (unsigned)w, picture = line / (unsigned)h;
  return {picture, (int)(line - picture * h), (int)(row - line * w)};
}

// Where output i of a side resized from in to out reads: half-pixel centres,
// edges clamped; weight is that of hi. (i+0.5)*in/out - 0.5, in whole numbers;
// sides are below 2^15.
struct Sample {
  int lo, hi;
  float weight;
};

__device__ __forceinline__ Sample sample_at(int i, int in, int out) {
  unsigned centre = (2u * i + 1) * in, whole = 2u * out, num = centre < (unsigned)out ? 0 : centre - out;
  int lo = min((int)(num / whole), in - 1);
  return {lo, min(lo + 1, in - 1), (float)(num - whole * lo) / (float)whole};
}

// h x w to oh x ow.
template <int V> __device__ void resize_map(const map_t *x, map_t *y, int rows, int c, int h, int w, int oh, int ow) {
  int ch = CHANNEL(V);
  if (ch >= c) return;
  float a[V], b[V], d[V], e[V];
  ROWS(p, rows) {
    Pixel at = pixel_of(p, oh, ow);
    Sample v = sample_at(at.i, h, oh), u = sample_at(at.j, w, ow);
    const map_t *up = x + ((ll)at.picture * h + v.lo) * w * c + ch, *down = x + ((ll)at.picture * h + v.hi) * w * c + ch;
    load<V>(up + (ll)u.lo * c, a);
    load<V>(up + (ll)u.hi * c, b);
    load<V>(down + (ll)u.lo * c, d);
    load<V>(down + (ll)u.hi * c, e);
    for (int k = 0; k < V; k++) {
      float above = (1.0f - u.weight) * a[k] + u.weight * b[k], below = (1.0f - u.weight) * d[k] + u.weight * e[k];
      a[k] = (1.0f - v.weight) * above + v.weight * below;
    }
    store<V>(y + (ll)p * c + ch, a);
  }
}

extern "C" __global__ void resize(const map_t *x, map_t *y, int rows, int c, int h, int w, int oh, int ow) {
  resize_map<1>(x, y, rows, c, h, w, oh, ow);
}
extern "C" __global__ void resize4(const map_t *x, map_t *y, int rows, int c, int h, int w, int oh, int ow) {
  resize_map<4>(x, y, rows, c, h, w, oh, ow);
}

// The outputs [first, last] of a side that may read input a: those whose centres
// lie within a pixel of it, and one more at both ends.
__device__ __forceinline__ int first_reader(int a, int in, int out) { return max(((2 * a - 1) * out - in) / (2 * in) - 1, 0); }
__device__ __forceinline__ int last_reader(int a, int in, int out) {
  return min((int)(((2u * a + 3) * out) / (2u * in)) + 1, out - 1);
}

// What input a weighs in a sample.
__device__ __forceinline__ float weight_in(Sample s, int a) {
  return (s.lo == a ? 1.0f - s.weight : 0.0f) + (s.hi == a ? s.weight : 0.0f);
}

// The transpose of resize: dx is h x w, dy oh x ow.
template <int V> __device__ void resize_grad_map(const map_t *dy, map_t *dx, int rows, int c, int h, int w, int oh, int ow) {
  int ch = CHANNEL(V);
  if (ch >= c) return;
  float sum[V], g[V];
  ROWS(p, rows) {
    Pixel at = pixel_of(p, h, w);
    const map_t *from = dy + (ll)at.picture * oh * ow * c + ch;
    int i1 = last_reader(at.i, h, oh), j0 = first_reader(at.j, w, ow), j1 = last_reader(at.j, w, ow);
    for (int k = 0; k < V; k++) sum[k] = 0.0f;
    for (int i = first_reader(at.i, h, oh); i <= i1; i++) {
      float f = weight_in(sample_at(i, h, oh), at.i);
      if (f == 0.0f) continue;
      for (int j = j0; j <= j1; j++) {
        float by = f * weight_in(sample_at(j, w, ow), at.j);
        if (by == 0.0f) continue;
        load<V>(from + ((ll)i * ow + j) * c, g);
        for (int k = 0; k < V; k++) sum[k] += by * g[k];
      }
    }
    store<V>(dx + (ll)p * c + ch, sum);
  }
}

extern "C" __global__ void resize_grad(const map_t *dy, map_t *dx, int rows, int c, int h, int w, int oh, int ow) {
  resize_grad_map<1>(dy, dx, rows, c, h, w, oh, ow);
}
extern "C" __global__ void resize_grad4(const map_t *dy, map_t *dx, int rows, int c, int h, int w, int oh, int ow) {
  resize_grad_map<4>(dy, dx, rows, c, h, w, oh, ow);
}

// Mean over the pixels of a picture: grid of pictures x blocks of channels,
// threads along y share the pixels. float64 sums.
extern "C" __global__ void mean(const map_t *x, map_t *y, int c, int pixels) {
  int ch = CHANNEL(1);
  const map_t *from = x + (ll)blockIdx.x * pixels * c + ch;
  double sum = 0;
  if (ch < c)
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) sum += widened(from[(ll)p * c]);
  sum = sum_along_y(sum);
  if (threadIdx.y == 0 && ch < c) y[(ll)blockIdx.x * c + ch] = narrowed((float)(sum / pixels));
}

template <int V> __device__ void mean_grad_map(const map_t *dy, map_t *dx, int rows, int c, int pixels) {
  int ch = CHANNEL(V);
  if (ch >= c) return;
  float f = 1.0f / (float)pixels, g[V];
  ROWS(p, rows) {
    load<V>(dy + (ll)(p / (unsigned)pixels) * c + ch, g);
    for (int k = 0; k < V; k++) g[k] *= f;
    store<V>(dx + (ll)p * c + ch, g);
  }
}

extern "C" __global__ void mean_grad(const map_t *dy, map_t *dx, int rows, int c, int pixels) { mean_grad_map<1>(dy, dx, rows, c, pixels); }
extern "C" __global__ void mean_grad4(const map_t *dy, map_t *dx, int rows, int c, int pixels) { mean_grad_map<4>(dy, dx, rows, c, pixels); }

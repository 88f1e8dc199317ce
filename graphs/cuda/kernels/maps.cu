// Ops that move channels and pixels of maps about: a thread has a channel (or
// four) of an output row and gathers what it reads, so that writes are coalesced
// and nothing is added by two threads. Bound by memory.

// y's channels from y0 on are x's from x0 on, c of them: split and concat.
extern "C" __global__ void channels(const float *x, float *y, ll rows, int c, int cx, int x0, int cy, int y0) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(p, rows) y[p * cy + y0 + ch] = x[p * cx + x0 + ch];
}

// Channel g*(c/groups)+i goes to i*groups+g.
extern "C" __global__ void shuffle(const float *x, float *y, ll rows, int c, int groups) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  int from = ch % groups * (c / groups) + ch / groups;
  ROWS(p, rows) y[p * c + ch] = x[p * c + from];
}

// Where output i of a side resized from in to out reads: half-pixel centres,
// edges clamped; weight is that of hi. ((i+0.5)*in/out - 0.5, in whole numbers.)
struct Sample {
  int lo, hi;
  float weight;
};

__device__ __forceinline__ Sample sample_at(int i, int in, int out) {
  ll num = (2ll * i + 1) * in - out;
  if (num < 0) num = 0;
  int lo = min((int)(num / (2ll * out)), in - 1);
  return {lo, min(lo + 1, in - 1), (float)(num - 2ll * out * lo) / (float)(2ll * out)};
}

// h x w to oh x ow.
extern "C" __global__ void resize(const float *x, float *y, ll rows, int c, int h, int w, int oh, int ow) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(p, rows) {
    int j = (int)(p % ow), i = (int)(p / ow % oh);
    const float *from = x + p / ow / oh * h * w * c + ch;
    Sample v = sample_at(i, h, oh), u = sample_at(j, w, ow);
    const float *up = from + (ll)v.lo * w * c, *down = from + (ll)v.hi * w * c;
    float a = (1.0f - u.weight) * up[(ll)u.lo * c] + u.weight * up[(ll)u.hi * c];
    float b = (1.0f - u.weight) * down[(ll)u.lo * c] + u.weight * down[(ll)u.hi * c];
    y[p * c + ch] = (1.0f - v.weight) * a + v.weight * b;
  }
}

// The outputs [first, last] of a side that may read input a: those whose centres
// lie within a pixel of it, and one more at both ends.
__device__ __forceinline__ int first_reader(int a, int in, int out) {
  return max((int)(((2ll * a - 1) * out - in) / (2ll * in)) - 1, 0);
}
__device__ __forceinline__ int last_reader(int a, int in, int out) {
  return min((int)(((2ll * a + 3) * out - in) / (2ll * in)) + 1, out - 1);
}

// What input a weighs in a sample.
__device__ __forceinline__ float weight_in(Sample s, int a) {
  return (s.lo == a ? 1.0f - s.weight : 0.0f) + (s.hi == a ? s.weight : 0.0f);
}

// The transpose of resize: dx is h x w, dy oh x ow.
extern "C" __global__ void resize_grad(const float *dy, float *dx, ll rows, int c, int h, int w, int oh, int ow) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(p, rows) {
    int b = (int)(p % w), a = (int)(p / w % h);
    const float *from = dy + p / w / h * oh * ow * c + ch;
    int i1 = last_reader(a, h, oh), j0 = first_reader(b, w, ow), j1 = last_reader(b, w, ow);
    float sum = 0.0f;
    for (int i = first_reader(a, h, oh); i <= i1; i++) {
      float f = weight_in(sample_at(i, h, oh), a), row = 0.0f;
      if (f == 0.0f) continue;
      for (int j = j0; j <= j1; j++) {
        float g = weight_in(sample_at(j, w, ow), b);
        if (g != 0.0f) row += g * from[((ll)i * ow + j) * c];
      }
      sum += f * row;
    }
    dx[p * c + ch] = sum;
  }
}

// Mean over the pixels of a picture: grid of pictures x blocks of channels,
// threads along y share the pixels. float64 sums.
extern "C" __global__ void mean(const float *x, float *y, int c, int pixels) {
  int ch = CHANNEL(1);
  const float *from = x + (ll)blockIdx.x * pixels * c + ch;
  double sum = 0;
  if (ch < c)
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) sum += from[(ll)p * c];
  sum = sum_along_y(sum);
  if (threadIdx.y == 0 && ch < c) y[(ll)blockIdx.x * c + ch] = (float)(sum / pixels);
}

extern "C" __global__ void mean_grad(const float *dy, float *dx, ll rows, int c, int pixels) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  float f = 1.0f / (float)pixels;
  ROWS(p, rows) dx[p * c + ch] = dy[p / pixels * c + ch] * f;
}

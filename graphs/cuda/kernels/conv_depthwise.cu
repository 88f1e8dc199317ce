// Depthwise convolutions, a channel a group, and sums over pixels.
//
// A thread makes one element of the result, or four channels of it where they
// can be read together; threads beside each other have channels beside each
// other. Weights are read as [kh*kw][c], which conv_turn makes of [c][kh][kw],
// rounded as elements of maps are. Bound by memory: windows overlap, and what one
// thread reads lies in the cache for those around it.
//
// The gradient of the weights: a block of 32 channels by 8 lines goes through a
// segment of output pixels, every eighth pixel a line, and makes the sums of up
// to CONV_TAPS taps at a time in registers; lines are added in order, segments
// by conv_join. The gradient of a bias is made in the same way.

#define CONV_TAPS 9
#define CONV_LINES 8

extern "C" __global__ void conv_turn(const float *w, float *to, int taps, int c, ll n) {
  EACH(i, n) to[i] = rounded(w[i % c * taps + i / c]);
}

CONV_INLINE float4 conv_multiply(float4 x, float4 w, float4 sum) {
  float4 s = {fmaf(x.x, w.x, sum.x), fmaf(x.y, w.y, sum.y), fmaf(x.z, w.z, sum.z), fmaf(x.w, w.w, sum.w)};
  return s;
}

// y, of n elements; in quads of channels where wide is set.
extern "C" __global__ void conv_depthwise(const map_t *x, const float *w, const float *bias, map_t *y, const float *centre,
                                          const float *gain, const float *shift, int per, int relu, int wide, int h, int wd, int c, int oh,
                                          int ow, int kh, int kw, int stride, int pad, ll n) {
  ConvMap m = conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu);
  int width = wide ? 4 : 1;
  EACH(e, n / width) {
    ll at = e * width, p = at / c;
    int k = (int)(at % c), img = (int)(p / ((ll)oh * ow)), i = (int)(p / ow % oh), j = (int)(p % ow);
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int a = 0; a < kh; a++)
      for (int b = 0; b < kw; b++) {
        int row = i * stride - pad + a, col = j * stride - pad + b;
        const float *tap = w + ((ll)a * kw + b) * c + k;
        if (wide) sum = conv_multiply(conv_read4(m, img, row, col, k), read_quad(tap), sum);
        else sum.x = fmaf(conv_read(m, img, row, col, k), tap[0], sum.x);
      }
    if (bias) sum = conv_plus(sum, conv_some(bias + k, width, 0));
    conv_put(y + at, sum, width, wide);
  }
}

// dx (+ more), of n elements: the taps that reach a pixel are a stride apart.
extern "C" __global__ void conv_depthwise_input(const map_t *dy, const float *w, const map_t *more, map_t *dx, int wide, int h, int wd,
                                                int c, int oh, int ow, int kh, int kw, int stride, int pad, ll n) {
  ConvMap m = conv_map(dy, oh, ow, c, 0, 0, 0, 0, 0, 0);
  int width = wide ? 4 : 1;
  EACH(e, n / width) {
    ll at = e * width, p = at / c;
    int k = (int)(at % c), img = (int)(p / ((ll)h * wd)), i = (int)(p / wd % h) + pad, j = (int)(p % wd) + pad;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int a = i % stride; a < kh; a += stride)
      for (int b = j % stride; b < kw; b += stride) {
        // Before the map's first pixel the quotient would be rounded up to it.
        int row = a > i ? -1 : (i - a) / stride, col = b > j ? -1 : (j - b) / stride;
        const float *tap = w + ((ll)a * kw + b) * c + k;
        if (wide) sum = conv_multiply(conv_read4(m, img, row, col, k), read_quad(tap), sum);
        else sum.x = fmaf(conv_read(m, img, row, col, k), tap[0], sum.x);
      }
    if (more) sum = conv_plus(sum, conv_some(more + at, width, wide));
    conv_put(dx + at, sum, width, wide);
  }
}

// Adds the lines of a block, in order, in the threads of the first line.
CONV_INLINE float conv_lines(float sum, float *s) {
  int line = threadIdx.x / 32, lane = threadIdx.x % 32;
  __syncthreads(); // s may still be read from before
  s[line * 32 + lane] = sum;
  __syncthreads();
  float all = s[lane];
  for (int l = 1; l < CONV_LINES; l++) all += s[l * 32 + lane];
  return all;
}

// Block: 32 channels, then CONV_TAPS taps, then a segment of length pixels,
// whose sums go to partial[segment][c][kh*kw].
extern "C" __global__ void conv_depthwise_weight(const map_t *x, const map_t *dy, float *partial, const float *centre, const float *gain,
                                                 const float *shift, int per, int relu, ll length, int n, int h, int wd, int c, int oh,
                                                 int ow, int kh, int kw, int stride, int pad) {
  __shared__ float s[CONV_LINES * 32];
  ConvMap m = conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu);
  int taps = kh * kw, blocks = (c + 31) / 32, parts = (taps + CONV_TAPS - 1) / CONV_TAPS;
  int k = blockIdx.x % blocks * 32 + threadIdx.x % 32, first = blockIdx.x / blocks % parts * CONV_TAPS;
  ll segment = blockIdx.x / blocks / parts, end = min((segment + 1) * length, (ll)n * oh * ow);
  float sum[CONV_TAPS];
#pragma unroll
  for (int t = 0; t < CONV_TAPS; t++) sum[t] = 0.0f;
  for (ll p = segment * length + threadIdx.x / 32; p < end && k < c; p += CONV_LINES) {
    int img = (int)(p / ((ll)oh * ow)), i = (int)(p / ow % oh) * stride - pad, j = (int)(p % ow) * stride - pad;
    float d = widened(dy[p * c + k]);
#pragma unroll
    for (int t = 0; t < CONV_TAPS; t++)
      if (first + t < taps) sum[t] = fmaf(d, conv_read(m, img, i + (first + t) / kw, j + (first + t) % kw, k), sum[t]);
  }
#pragma unroll
  for (int t = 0; t < CONV_TAPS; t++) {
    float all = conv_lines(sum[t], s);
    if (threadIdx.x < 32 && k < c && first + t < taps) partial[segment * c * taps + (ll)k * taps + first + t] = all;
  }
}

// Sums of dy over segments of length pixels: partial[segment][k]. Block: 32
// channels, then a segment.
extern "C" __global__ void conv_bias(const map_t *dy, float *partial, ll length, int k, ll pixels) {
  __shared__ float s[CONV_LINES * 32];
  int blocks = (k + 31) / 32, channel = blockIdx.x % blocks * 32 + threadIdx.x % 32;
  ll segment = blockIdx.x / blocks, end = min((segment + 1) * length, pixels);
  float sum = 0.0f;
  for (ll p = segment * length + threadIdx.x / 32; p < end && channel < k; p += CONV_LINES) sum += widened(dy[p * k + channel]);
  float all = conv_lines(sum, s);
  if (threadIdx.x < 32 && channel < k) partial[segment * k + channel] = all;
}

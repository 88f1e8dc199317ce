// The products of conv.cu: the sums of a tile, and the kernels, one a tile's
// shape.

// A thread's part of the tile: rows and columns in quads, the quads of a thread
// far from each other, so that threads beside each other read shared memory
// beside each other.
template <int BM, int BN, int TM, int TN> struct ConvSums {
  static const int ACROSS = BN / TN, DOWN = BM / TM;
  float sum[TM][TN];

  static __device__ __forceinline__ int row(int i) { return i / 4 * DOWN * 4 + threadIdx.x / ACROSS * 4 + i % 4; }
  static __device__ __forceinline__ int col(int j) { return j / 4 * ACROSS * 4 + threadIdx.x % ACROSS * 4 + j % 4; }
  __device__ __forceinline__ float4 quad(int i, int j) const {
    float4 x = {sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]};
    return x;
  }
  __device__ __forceinline__ void multiply(const float4 *a, const float4 *b) {
#pragma unroll
    for (int d = 0; d < CONV_DEPTH; d++) {
      float x[TM], y[TN];
#pragma unroll
      for (int i = 0; i < TM; i += 4) {
        float4 v = a[d * (BM / 4 + 1) + row(i) / 4];
        x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
      }
#pragma unroll
      for (int j = 0; j < TN; j += 4) {
        float4 v = b[d * (BN / 4 + 1) + col(j) / 4];
        y[j] = v.x, y[j + 1] = v.y, y[j + 2] = v.z, y[j + 3] = v.w;
      }
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
    }
  }
  // The product over pieces of the depth. sa and sb hold two pieces each.
  template <class A, class B> __device__ __forceinline__ void product(A &a, B &b, int pieces, float4 *sa, float4 *sb) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) sum[i][j] = 0.0f;
    const int na = CONV_DEPTH * (BM / 4 + 1), nb = CONV_DEPTH * (BN / 4 + 1);
    if (pieces > 0) {
      a.load(), b.load();
      a.store(sa), b.store(sb);
    }
    __syncthreads();
    int now = 0;
    for (int p = 0; p < pieces; p++) {
      bool more = p + 1 < pieces;
      if (more) a.load(), b.load();
      multiply(sa + now * na, sb + now * nb);
      now ^= 1;
      if (more) a.store(sa + now * na), b.store(sb + now * nb);
      __syncthreads();
    }
  }
};

// y = conv(x, w) + bias
template <int BM, int BN, int TM, int TN>
CONV_INLINE void conv_forward(const float *w, const float *bias, map_t *y, ConvMap m, const ConvShape &s, int vec, float4 *sa, float4 *sb) {
  ll pixels = (ll)s.n * s.oh * s.ow;
  int depth = s.kh * s.kw * s.cg;
  ConvTile t = conv_tile(pixels, s.kg, BM, BN);
  m.x += t.product * s.cg;
  if (m.gain) m.centre += t.product * s.cg, m.gain += t.product * s.cg, m.shift += t.product * s.cg;
  ConvPatches<BM> a;
  a.start(m, s.kh, s.kw, s.cg, 1, vec & 1);
#pragma unroll
  for (int q = 0; q < ConvPatches<BM>::Q; q++) {
    ll p = t.row + a.row(q);
    a.place(q, p < pixels, (int)(p / ((ll)s.oh * s.ow)), (int)(p / s.ow % s.oh) * s.stride - s.pad, (int)(p % s.ow) * s.stride - s.pad);
  }
  int first = t.product * s.kg + t.col;
  ConvRows<BN> b(w + (ll)first * depth, s.kg - t.col, depth, vec & 2);
  ConvSums<BM, BN, TM, TN> o;
  o.product(a, b, (depth + CONV_DEPTH - 1) / CONV_DEPTH, sa, sb);
#pragma unroll
  for (int i = 0; i < TM; i++) {
    ll p = t.row + o.row(i);
    if (p >= pixels) continue;
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
      int k = first + o.col(j), n = s.kg - t.col - o.col(j);
      float4 sum = o.quad(i, j);
      if (bias) sum = conv_plus(sum, conv_some(bias + k, n, 0));
      conv_put(y + p * s.k + k, sum, n, vec & 4);
    }
  }
}

// dx = the gradient of conv's x (+ more)
template <int BM, int BN, int TM, int TN>
CONV_INLINE void conv_back(const map_t *dy, const float *w, const map_t *more, map_t *dx, const ConvShape &s, int vec, float4 *sa,
                           float4 *sb) {
  int high = (s.h + s.stride - 1) / s.stride, wide = (s.w + s.stride - 1) / s.stride; // of the largest phase
  ConvTile t = conv_tile((ll)s.n * high * wide, s.cg, BM, BN);
  int phase = t.product / s.groups, group = t.product % s.groups;
  int rows = min(s.stride, s.h), columns = min(s.stride, s.w); // phases that have pixels: rows*columns
  ConvPhase pi = conv_phase(phase / columns % rows, s.h, s.kh, s.stride, s.pad);
  ConvPhase pj = conv_phase(phase % columns, s.w, s.kw, s.stride, s.pad);
  ll pixels = (ll)s.n * pi.pixels * pj.pixels;
  ConvPatches<BM> a;
  a.start(conv_map(dy, s.oh, s.ow, s.k, group * s.kg, 0, 0, 0, 0, 0), pi.taps, pj.taps, s.kg, -1, vec & 1);
#pragma unroll
  for (int q = 0; q < ConvPatches<BM>::Q; q++) {
    ll p = t.row + a.row(q);
    a.place(q, p < pixels, (int)(p / ((ll)pi.pixels * pj.pixels)), (int)(p / pj.pixels % pi.pixels) + pi.top, (int)(p % pj.pixels) + pj.top);
  }
  ConvTaps<BN> b(w + (ll)group * s.kg * s.kh * s.kw * s.cg + t.col, s, pi, pj, s.cg - t.col, vec & 2);
  ConvSums<BM, BN, TM, TN> o;
  o.product(a, b, (int)(((ll)pi.taps * pj.taps * s.kg + CONV_DEPTH - 1) / CONV_DEPTH), sa, sb);
#pragma unroll
  for (int i = 0; i < TM; i++) {
    ll p = t.row + o.row(i);
    if (p >= pixels) continue;
    ll img = p / ((ll)pi.pixels * pj.pixels);
    int r = pi.first + (int)(p / pj.pixels % pi.pixels) * s.stride, q = pj.first + (int)(p % pj.pixels) * s.stride;
    ll at = ((img * s.h + r) * s.w + q) * s.c + group * s.cg + t.col;
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
      int n = s.cg - t.col - o.col(j);
      float4 sum = o.quad(i, j);
      if (more) sum = conv_plus(sum, conv_some(more + at + o.col(j), n, vec & 4));
      conv_put(dx + at + o.col(j), sum, n, vec & 4);
    }
  }
}

// A segment of the gradient of conv's w: of length output pixels. Where there
// is but one it is added to to, else each is written, one behind the other.
template <int BM, int BN, int TM, int TN>
CONV_INLINE void conv_weights(const map_t *dy, float *to, ConvMap m, const ConvShape &s, int segments, ll length, int vec, float4 *sa,
                              float4 *sb) {
  int patch = s.kh * s.kw * s.cg;
  ll pixels = (ll)s.n * s.oh * s.ow;
  ConvTile t = conv_tile(s.kg, patch, BM, BN);
  int segment = t.product % segments, group = t.product / segments, row = (int)t.row;
  ll p0 = segment * length, p1 = min(p0 + length, pixels);
  m.x += group * s.cg;
  if (m.gain) m.centre += group * s.cg, m.gain += group * s.cg, m.shift += group * s.cg;
  ConvColumns<BM> a(dy + p0 * s.k + group * s.kg + row, p1 - p0, s.k, s.kg - row, vec & 1);
  ConvPixels<BN> b(m, s, p0, p1, t.col, vec & 2);
  ConvSums<BM, BN, TM, TN> o;
  o.product(a, b, (int)((p1 - p0 + CONV_DEPTH - 1) / CONV_DEPTH), sa, sb);
  to += segment * ((ll)s.k * patch) + (ll)group * s.kg * patch;
#pragma unroll
  for (int i = 0; i < TM; i++) {
    int k = row + o.row(i);
    if (k >= s.kg) continue;
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
      int r = t.col + o.col(j);
      float *p = to + (ll)k * patch + r;
      float4 sum = o.quad(i, j);
      if (segments == 1) sum = conv_plus(conv_some(p, patch - r, vec & 4), sum);
      conv_put(p, sum, patch - r, vec & 4);
    }
  }
}

// Two blocks on a processor hide each other's waits; the gradients by tiles of
// 128x128 have too much to remember for that.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv_128x128(const map_t *x, const float *w, const float *bias, map_t *y, const float *centre, const float *gain, const float *shift,
                 int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k, int kh, int kw, int stride, int pad,
                 int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_forward<128, 128, 8, 8>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                               conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_64x64(const map_t *x, const float *w, const float *bias, map_t *y, const float *centre, const float *gain,
                                      const float *shift, int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k,
                                      int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_forward<64, 64, 4, 4>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                             conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_256x16(const map_t *x, const float *w, const float *bias, map_t *y, const float *centre, const float *gain,
                                       const float *shift, int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k,
                                       int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 65], sb[2 * CONV_DEPTH * 5];
  conv_forward<256, 16, 4, 4>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                              conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_128x128(const map_t *dy, const float *w, const map_t *more, map_t *dx, int vec, int n, int h, int wd,
                                              int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_back<128, 128, 8, 8>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_64x64(const map_t *dy, const float *w, const map_t *more, map_t *dx, int vec, int n, int h, int wd,
                                            int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_back<64, 64, 4, 4>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_256x16(const map_t *dy, const float *w, const map_t *more, map_t *dx, int vec, int n, int h, int wd,
                                             int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 65], sb[2 * CONV_DEPTH * 5];
  conv_back<256, 16, 4, 4>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_weight_128x128(const map_t *x, const map_t *dy, float *to, const float *centre, const float *gain,
                                               const float *shift, int per, int relu, int segments, ll length, int vec, int n, int h,
                                               int wd, int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_weights<128, 128, 8, 8>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                               conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

extern "C" __global__ void conv_weight_64x64(const map_t *x, const map_t *dy, float *to, const float *centre, const float *gain,
                                             const float *shift, int per, int relu, int segments, ll length, int vec, int n, int h, int wd,
                                             int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_weights<64, 64, 4, 4>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                             conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv_weight_16x256(const map_t *x, const map_t *dy, float *to, const float *centre, const float *gain, const float *shift, int per,
                       int relu, int segments, ll length, int vec, int n, int h, int wd, int c, int oh, int ow, int k, int kh, int kw,
                       int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 5], sb[2 * CONV_DEPTH * 65];
  conv_weights<16, 256, 4, 4>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                              conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

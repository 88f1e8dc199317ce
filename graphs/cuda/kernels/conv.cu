// Convolutions and dense products: y, the gradient of x, the gradient of w.
//
// Each is a product of matrices, for each group apart, whose operands are read
// where they lie (an implicit GEMM: patches are never written to memory):
//
//	             rows              columns     depth
//	conv         output pixels     kg          kh*kw*cg
//	conv_input   input pixels      cg          taps that reach them * kg
//	conv_weight  kg                kh*kw*cg    output pixels, in segments
//
// The gradient of x is made apart for each residue of row and column by the
// stride, its phases, so that no tap is taken that does not reach the pixel.
// A segment of conv_weight is a partial sum; conv_join adds them in order.
//
// A block of 256 threads makes a tile of the product: 128x128 (8x8 a thread),
// 64x64 (4x4), 256x16 and 16x256 (4x4) for groups of few channels. It takes 16
// elements of the depth at a time through shared memory, [depth][row], in two
// buffers: the next 16 are on their way from memory while these are multiplied.
//
//	memory --float4 or single--> registers --> shared [16][rows + 4] --> 8x8 sums
//
// Every sum runs over the depth in order, in one accumulator, so that it does
// not depend on the tile. Bound by float32 arithmetic, 8x8: 64 fused
// multiply-adds for 4 reads of shared memory; by the reads of patches where kg
// is small.
//
// Maps [n,h,w,c], weights [k][kh][kw][cg]. vec says which operands can be read
// four elements at a time: 1 the rows' operand, 2 the columns', 4 the result.

#define CONV_DEPTH 16
#define CONV_INLINE static __device__ __forceinline__

// A convolution's shape: geometry in package cuda.
struct ConvShape {
  int n, h, w, c, oh, ow, k, kh, kw, stride, pad, groups, cg, kg;
};

CONV_INLINE ConvShape conv_shape(int n, int h, int w, int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  ConvShape s = {n, h, w, c, oh, ow, k, kh, kw, stride, pad, groups, c / groups, k / groups};
  return s;
}

// Where a block works: its tile's first row and column, and the number of the
// product among several.
struct ConvTile {
  ll row;
  int col, product;
};

// Blocks beside each other share rows.
CONV_INLINE ConvTile conv_tile(ll rows, int cols, int height, int width) {
  ll across = (cols + width - 1) / width, down = (rows + height - 1) / height, id = blockIdx.x;
  ConvTile t = {id / across % down * height, (int)(id % across) * width, (int)(id / across / down)};
  return t;
}

// A map that is read, from a group's first channel on; outside it are zeros.
// Where gain is there, what is read is (x-centre)*gain + shift, behind a relu
// where relu is set; factors of picture img start at img*per.
struct ConvMap {
  const float *x;
  int h, w, c;
  const float *centre, *gain, *shift;
  int per, relu;
};

CONV_INLINE ConvMap conv_map(const float *x, int h, int w, int c, int first, const float *centre, const float *gain, const float *shift,
                             int per, int relu) {
  ConvMap m = {x + first, h, w, c, centre, gain, shift, per, relu};
  if (gain) m.centre += first, m.gain += first, m.shift += first;
  return m;
}

CONV_INLINE float conv_seen(float x, float centre, float gain, float shift, int relu) {
  float y = normed(x, centre, gain, shift);
  return relu && y < 0.0f ? 0.0f : y;
}

CONV_INLINE float conv_read(const ConvMap &m, int img, int i, int j, int c) {
  if (i < 0 || i >= m.h || j < 0 || j >= m.w) return 0.0f;
  float x = m.x[(((ll)img * m.h + i) * m.w + j) * m.c + c];
  if (!m.gain) return x;
  ll f = (ll)img * m.per + c;
  return conv_seen(x, m.centre[f], m.gain[f], m.shift[f], m.relu);
}

CONV_INLINE float4 conv_quad(const float *p) { return *(const float4 *)p; }

CONV_INLINE float4 conv_read4(const ConvMap &m, int img, int i, int j, int c) {
  float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
  if (i < 0 || i >= m.h || j < 0 || j >= m.w) return x;
  x = conv_quad(m.x + (((ll)img * m.h + i) * m.w + j) * m.c + c);
  if (!m.gain) return x;
  ll f = (ll)img * m.per + c;
  float4 centre = conv_quad(m.centre + f), gain = conv_quad(m.gain + f), shift = conv_quad(m.shift + f);
  x.x = conv_seen(x.x, centre.x, gain.x, shift.x, m.relu);
  x.y = conv_seen(x.y, centre.y, gain.y, shift.y, m.relu);
  x.z = conv_seen(x.z, centre.z, gain.z, shift.z, m.relu);
  x.w = conv_seen(x.w, centre.w, gain.w, shift.w, m.relu);
  return x;
}

// n elements of p, at most four, and zeros behind them.
CONV_INLINE float4 conv_some(const float *p, int n, int vec) {
  if (vec && n >= 4) return conv_quad(p);
  float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
  if (n > 0) x.x = p[0];
  if (n > 1) x.y = p[1];
  if (n > 2) x.z = p[2];
  if (n > 3) x.w = p[3];
  return x;
}

// Writes n elements of x, at most four.
CONV_INLINE void conv_put(float *p, float4 x, int n, int vec) {
  if (vec && n >= 4) {
    *(float4 *)p = x;
    return;
  }
  if (n > 0) p[0] = x.x;
  if (n > 1) p[1] = x.y;
  if (n > 2) p[2] = x.z;
  if (n > 3) p[3] = x.w;
}

CONV_INLINE float4 conv_plus(float4 a, float4 b) {
  float4 s = {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
  return s;
}

// A place in a window: row, column, channel.
struct ConvTap {
  int a, b, c;

  __device__ __forceinline__ void forward(int by, int width, int channels) {
    c += by;
    while (c >= channels) {
      c -= channels;
      if (++b == width) b = 0, a++;
    }
  }
};

CONV_INLINE ConvTap conv_tap(int at, int width, int channels) {
  ConvTap t = {at / (width * channels), at / channels % width, at % channels};
  return t;
}

// Operands. Each thread carries Q quads of a piece of B rows (or columns) by
// CONV_DEPTH from memory to shared memory: load reads the next ones into
// registers, store writes them to [CONV_DEPTH][B+4].

#define CONV_QUADS(B) ((B) * CONV_DEPTH / 4 <= THREADS ? 1 : (B) * CONV_DEPTH / 4 / THREADS)

// The thread carries nothing of a piece that is smaller than the block.
#define CONV_IDLE(B) ((B) * CONV_DEPTH / 4 < THREADS && threadIdx.x >= (B) * CONV_DEPTH / 4)

// Four elements of the depth go to as many lines of a column.
template <int B> CONV_INLINE void conv_store_across(float4 *to, float4 v, int depth, int row) {
  float *s = (float *)to + depth * (B + 4) + row;
  s[0] = v.x;
  s[B + 4] = v.y;
  s[2 * (B + 4)] = v.z;
  s[3 * (B + 4)] = v.w;
}

// Rows are the patches of pixels, the depth runs over the window: conv's x, and
// conv_input's dy, whose window runs backwards (sign -1).
template <int B> struct ConvPatches {
  static const int Q = CONV_QUADS(B);
  ConvMap m;
  int kh, kw, channels, sign, vec;
  ConvTap tap;
  int img[Q], top[Q], left[Q];
  float4 v[Q];

  __device__ __forceinline__ void start(const ConvMap &map, int height, int width, int of, int direction, int quads) {
    m = map, kh = height, kw = width, channels = of, sign = direction, vec = quads;
    tap = conv_tap(threadIdx.x % 4 * 4, max(kw, 1), channels); // a phase may have no taps
  }
  static __device__ __forceinline__ int row(int q) { return threadIdx.x / 4 + q * (THREADS / 4); }
  // A row without a pixel lies above every map.
  __device__ __forceinline__ void place(int q, bool there, int picture, int i, int j) {
    img[q] = there ? picture : 0, top[q] = there ? i : -(1 << 30) * sign, left[q] = j;
  }
  __device__ __forceinline__ float4 single(int q) {
    float v[4];
    ConvTap t = tap;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      v[e] = t.a < kh ? conv_read(m, img[q], top[q] + sign * t.a, left[q] + sign * t.b, t.c) : 0.0f;
      t.forward(1, kw, channels);
    }
    float4 quad = {v[0], v[1], v[2], v[3]};
    return quad;
  }
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      float4 none = {0.0f, 0.0f, 0.0f, 0.0f};
      if (!vec) v[q] = single(q);
      else v[q] = tap.a < kh ? conv_read4(m, img[q], top[q] + sign * tap.a, left[q] + sign * tap.b, tap.c) : none;
    }
    tap.forward(CONV_DEPTH, kw, channels);
  }
  __device__ __forceinline__ void store(float4 *to) const {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) conv_store_across<B>(to, v[q], threadIdx.x % 4 * 4, row(q));
  }
};

// Rows of a matrix, whose elements are the depth: conv's w.
template <int B> struct ConvRows {
  static const int Q = CONV_QUADS(B);
  const float *at[Q];
  int left[Q], vec;
  float4 v[Q];

  __device__ __forceinline__ ConvRows(const float *x, int rows, int depth, int quads) : vec(quads) {
#pragma unroll
    for (int q = 0; q < Q; q++) {
      int row = threadIdx.x / 4 + q * (THREADS / 4), from = threadIdx.x % 4 * 4;
      at[q] = x + (ll)row * depth + from;
      left[q] = row < rows ? depth - from : 0;
    }
  }
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      v[q] = conv_some(at[q], left[q], vec);
      at[q] += CONV_DEPTH, left[q] -= CONV_DEPTH;
    }
  }
  __device__ __forceinline__ void store(float4 *to) const {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) conv_store_across<B>(to, v[q], threadIdx.x % 4 * 4, threadIdx.x / 4 + q * (THREADS / 4));
  }
};

// Of the operands whose columns lie beside each other: the line of the depth,
// and the first column, of a thread's quad q.
template <int B> CONV_INLINE int conv_line(int q) { return threadIdx.x / (B / 4) + q * (THREADS / (B / 4)); }
template <int B> CONV_INLINE int conv_column() { return threadIdx.x % (B / 4) * 4; }

template <int B> CONV_INLINE void conv_store_along(float4 *to, const float4 *v) {
  if (CONV_IDLE(B)) return;
#pragma unroll
  for (int q = 0; q < CONV_QUADS(B); q++) to[conv_line<B>(q) * (B / 4 + 1) + threadIdx.x % (B / 4)] = v[q];
}

// Columns of a matrix of width elements a line: conv_weight's dy.
template <int B> struct ConvColumns {
  static const int Q = CONV_QUADS(B);
  const float *at[Q];
  ll lines[Q]; // that are left
  ll step;
  int cols, vec;
  float4 v[Q];

  __device__ __forceinline__ ConvColumns(const float *x, ll depth, int width, int most, int quads)
      : step((ll)width * CONV_DEPTH), cols(most - conv_column<B>()), vec(quads) {
#pragma unroll
    for (int q = 0; q < Q; q++) {
      at[q] = x + (ll)conv_line<B>(q) * width + conv_column<B>();
      lines[q] = depth - conv_line<B>(q);
    }
  }
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      v[q] = conv_some(at[q], lines[q] > 0 ? cols : 0, vec);
      at[q] += step, lines[q] -= CONV_DEPTH;
    }
  }
  __device__ __forceinline__ void store(float4 *to) const { conv_store_along<B>(to, v); }
};

// Columns are places of the window, the depth runs over output pixels:
// conv_weight's x.
template <int B> struct ConvPixels {
  static const int Q = CONV_QUADS(B);
  ConvMap m;
  int oh, ow, stride, pad, vec;
  ConvTap taps[4];
  bool there[4];
  int img[Q], i[Q], j[Q];
  ll lines[Q];
  float4 v[Q];

  __device__ __forceinline__ ConvPixels(const ConvMap &map, const ConvShape &s, ll first, ll end, int col, int quads)
      : m(map), oh(s.oh), ow(s.ow), stride(s.stride), pad(s.pad), vec(quads) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      int at = col + conv_column<B>() + e;
      taps[e] = conv_tap(at, s.kw, s.cg);
      there[e] = at < s.kh * s.kw * s.cg;
    }
#pragma unroll
    for (int q = 0; q < Q; q++) {
      ll p = first + conv_line<B>(q);
      img[q] = (int)(p / ((ll)oh * ow)), i[q] = (int)(p / ow % oh), j[q] = (int)(p % ow), lines[q] = end - p;
    }
  }
  __device__ __forceinline__ float single(int q, int e) {
    if (!there[e] || lines[q] <= 0) return 0.0f;
    return conv_read(m, img[q], i[q] * stride - pad + taps[e].a, j[q] * stride - pad + taps[e].b, taps[e].c);
  }
  __device__ __forceinline__ float4 quad(int q) {
    float4 none = {0.0f, 0.0f, 0.0f, 0.0f};
    if (!there[0] || lines[q] <= 0) return none;
    return conv_read4(m, img[q], i[q] * stride - pad + taps[0].a, j[q] * stride - pad + taps[0].b, taps[0].c);
  }
  __device__ __forceinline__ void forward(int q) {
    lines[q] -= CONV_DEPTH, j[q] += CONV_DEPTH;
    while (j[q] >= ow) {
      j[q] -= ow;
      if (++i[q] == oh) i[q] = 0, img[q]++;
    }
  }
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      float4 four = {0.0f, 0.0f, 0.0f, 0.0f};
      if (vec) four = quad(q);
      else four.x = single(q, 0), four.y = single(q, 1), four.z = single(q, 2), four.w = single(q, 3);
      v[q] = four;
      forward(q);
    }
  }
  __device__ __forceinline__ void store(float4 *to) const { conv_store_along<B>(to, v); }
};

// Of a stride's phase along one axis: its pixels start at first, their taps at
// tap; both go on by the stride. Its pixel 0 sees, through its first tap, the
// output pixel top.
struct ConvPhase {
  int first, tap, pixels, taps, top;
};

CONV_INLINE ConvPhase conv_phase(int first, int size, int window, int stride, int pad) {
  int tap = (first + pad) % stride;
  ConvPhase p = {first, tap, (size - first + stride - 1) / stride, tap < window ? (window - tap + stride - 1) / stride : 0,
                 (first + pad) / stride};
  return p;
}

// Columns are input channels, the depth runs over a phase's taps and the
// group's output channels: conv_input's w.
template <int B> struct ConvTaps {
  static const int Q = CONV_QUADS(B);
  const float *w;
  int kg, kw, width, stride, cols, vec; // width: taps of a row of the phase
  int tap0, tap1, high;                     // its first tap, and its rows of taps
  ll line;                                  // elements of an output channel's weights
  int step;                                 // elements of a tap's
  ConvTap at[Q];
  float4 v[Q];

  __device__ __forceinline__ ConvTaps(const float *from, const ConvShape &s, const ConvPhase &i, const ConvPhase &j, int most, int quads)
      : w(from + conv_column<B>()), kg(s.kg), kw(s.kw), width(max(j.taps, 1)), stride(s.stride), cols(most - conv_column<B>()),
        vec(quads), tap0(i.tap), tap1(j.tap), high(i.taps), line((ll)s.kh * s.kw * s.cg), step(s.cg) {
#pragma unroll
    for (int q = 0; q < Q; q++) at[q] = conv_tap(conv_line<B>(q), width, kg);
  }
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      int a = tap0 + stride * at[q].a, b = tap1 + stride * at[q].b;
      v[q] = conv_some(w + at[q].c * line + (ll)(a * kw + b) * step, at[q].a < high ? cols : 0, vec);
      at[q].forward(CONV_DEPTH, width, kg);
    }
  }
  __device__ __forceinline__ void store(float4 *to) const { conv_store_along<B>(to, v); }
};

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
  template <class A, class B> __device__ __forceinline__ void product(A &a, B &b, ll pieces, float4 *sa, float4 *sb) {
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
    for (ll p = 0; p < pieces; p++) {
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
CONV_INLINE void conv_forward(const float *w, const float *bias, float *y, ConvMap m, const ConvShape &s, int vec, float4 *sa, float4 *sb) {
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
CONV_INLINE void conv_back(const float *dy, const float *w, const float *more, float *dx, const ConvShape &s, int vec, float4 *sa,
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
  o.product(a, b, ((ll)pi.taps * pj.taps * s.kg + CONV_DEPTH - 1) / CONV_DEPTH, sa, sb);
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
CONV_INLINE void conv_weights(const float *dy, float *to, ConvMap m, const ConvShape &s, int segments, ll length, int vec, float4 *sa,
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
  o.product(a, b, (p1 - p0 + CONV_DEPTH - 1) / CONV_DEPTH, sa, sb);
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

// The kernels, one a tile's shape.

// Two blocks on a processor hide each other's waits; the gradients have too much
// to remember for that.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv_128x128(const float *x, const float *w, const float *bias, float *y, const float *centre, const float *gain, const float *shift,
                 int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k, int kh, int kw, int stride, int pad,
                 int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_forward<128, 128, 8, 8>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                               conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_64x64(const float *x, const float *w, const float *bias, float *y, const float *centre, const float *gain,
                                      const float *shift, int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k,
                                      int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_forward<64, 64, 4, 4>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                             conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_256x16(const float *x, const float *w, const float *bias, float *y, const float *centre, const float *gain,
                                       const float *shift, int per, int relu, int vec, int n, int h, int wd, int c, int oh, int ow, int k,
                                       int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 65], sb[2 * CONV_DEPTH * 5];
  conv_forward<256, 16, 4, 4>(w, bias, y, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                              conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_128x128(const float *dy, const float *w, const float *more, float *dx, int vec, int n, int h, int wd,
                                              int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_back<128, 128, 8, 8>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_64x64(const float *dy, const float *w, const float *more, float *dx, int vec, int n, int h, int wd,
                                            int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_back<64, 64, 4, 4>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_input_256x16(const float *dy, const float *w, const float *more, float *dx, int vec, int n, int h, int wd,
                                             int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 65], sb[2 * CONV_DEPTH * 5];
  conv_back<256, 16, 4, 4>(dy, w, more, dx, conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), vec, sa, sb);
}

extern "C" __global__ void conv_weight_128x128(const float *x, const float *dy, float *to, const float *centre, const float *gain,
                                               const float *shift, int per, int relu, int segments, ll length, int vec, int n, int h,
                                               int wd, int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 33], sb[2 * CONV_DEPTH * 33];
  conv_weights<128, 128, 8, 8>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                               conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

extern "C" __global__ void conv_weight_64x64(const float *x, const float *dy, float *to, const float *centre, const float *gain,
                                             const float *shift, int per, int relu, int segments, ll length, int vec, int n, int h, int wd,
                                             int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 17], sb[2 * CONV_DEPTH * 17];
  conv_weights<64, 64, 4, 4>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                             conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

extern "C" __global__ void conv_weight_16x256(const float *x, const float *dy, float *to, const float *centre, const float *gain,
                                              const float *shift, int per, int relu, int segments, ll length, int vec, int n, int h, int wd,
                                              int c, int oh, int ow, int k, int kh, int kw, int stride, int pad, int groups) {
  __shared__ float4 sa[2 * CONV_DEPTH * 5], sb[2 * CONV_DEPTH * 65];
  conv_weights<16, 256, 4, 4>(dy, to, conv_map(x, h, wd, c, 0, centre, gain, shift, per, relu),
                              conv_shape(n, h, wd, c, oh, ow, k, kh, kw, stride, pad, groups), segments, length, vec, sa, sb);
}

// to[i] += the sum of partial[segment][i], in the order of segments
extern "C" __global__ void conv_join(float *to, const float *partial, int segments, ll n) {
  EACH(i, n) {
    float sum = 0.0f;
    for (int s = 0; s < segments; s++) sum += partial[s * n + i];
    to[i] += sum;
  }
}

// The factors of a norm that a convolution reads through, n = pictures*c of
// each: centre = mean, gain = invstd*scale, shift. Statistics lie per channel
// or, where groups > 0, per picture and group.
extern "C" __global__ void conv_factors(const float *scale, const float *shift, const float *mean, const float *invstd, float *to, int c,
                                        int groups, ll n) {
  EACH(i, n) {
    int channel = (int)(i % c);
    ll stat = groups > 0 ? i / c * groups + channel / (c / groups) : channel;
    to[i] = mean[stat];
    to[n + i] = invstd[stat] * scale[channel];
    to[2 * n + i] = shift[channel];
  }
}

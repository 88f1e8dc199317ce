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
// Maps [n,h,w,c], weights [k][kh][kw][cg]. What is multiplied is rounded as
// elements of maps are: weights, and what a norm that is read through makes. vec
// says which operands can be read four elements at a time: 1 the rows' operand, 2
// the columns', 4 the result.

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
  const map_t *x;
  int h, w, c;
  const float *centre, *gain, *shift;
  int per, relu;
};

CONV_INLINE ConvMap conv_map(const map_t *x, int h, int w, int c, int first, const float *centre, const float *gain, const float *shift,
                             int per, int relu) {
  ConvMap m = {x + first, h, w, c, centre, gain, shift, per, relu};
  if (gain) m.centre += first, m.gain += first, m.shift += first;
  return m;
}

CONV_INLINE float conv_seen(float x, float centre, float gain, float shift, int relu) {
  float y = rounded(normed(x, centre, gain, shift));
  return relu && y < 0.0f ? 0.0f : y;
}

CONV_INLINE float conv_read(const ConvMap &m, int img, int i, int j, int c) {
  if (i < 0 || i >= m.h || j < 0 || j >= m.w) return 0.0f;
  float x = widened(m.x[(((ll)img * m.h + i) * m.w + j) * m.c + c]);
  if (!m.gain) return x;
  ll f = (ll)img * m.per + c;
  return conv_seen(x, m.centre[f], m.gain[f], m.shift[f], m.relu);
}

CONV_INLINE float4 conv_read4(const ConvMap &m, int img, int i, int j, int c) {
  float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
  if (i < 0 || i >= m.h || j < 0 || j >= m.w) return x;
  x = read_quad(m.x + (((ll)img * m.h + i) * m.w + j) * m.c + c);
  if (!m.gain) return x;
  ll f = (ll)img * m.per + c;
  float4 centre = read_quad(m.centre + f), gain = read_quad(m.gain + f), shift = read_quad(m.shift + f);
  x.x = conv_seen(x.x, centre.x, gain.x, shift.x, m.relu);
  x.y = conv_seen(x.y, centre.y, gain.y, shift.y, m.relu);
  x.z = conv_seen(x.z, centre.z, gain.z, shift.z, m.relu);
  x.w = conv_seen(x.w, centre.w, gain.w, shift.w, m.relu);
  return x;
}

// n elements of p, at most four, and zeros behind them.
template <class T> CONV_INLINE float4 conv_some(const T *p, int n, int vec) {
  if (vec && n >= 4) return read_quad(p);
  float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
  if (n > 0) x.x = widened(p[0]);
  if (n > 1) x.y = widened(p[1]);
  if (n > 2) x.z = widened(p[2]);
  if (n > 3) x.w = widened(p[3]);
  return x;
}

// Writes n elements of x, at most four.
template <class T> CONV_INLINE void conv_put(T *p, float4 x, int n, int vec) {
  if (vec && n >= 4) {
    write_quad(p, x);
    return;
  }
  if (n > 0) write_one(p, x.x);
  if (n > 1) write_one(p + 1, x.y);
  if (n > 2) write_one(p + 2, x.z);
  if (n > 3) write_one(p + 3, x.w);
}

// n of p's weights, as they are multiplied with elements of maps.
CONV_INLINE float4 conv_weight_quad(const float *p, int n, int vec) {
  float4 w = conv_some(p, n, vec);
  float4 x = {rounded(w.x), rounded(w.y), rounded(w.z), rounded(w.w)};
  return x;
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
  const float *at; // of the first quad
  ll step;         // from a quad to the next
  int most;        // of quads that have a row
  int left, vec;
  float4 v[Q];

  __device__ __forceinline__ ConvRows(const float *x, int rows, int depth, int quads)
      : at(x + (ll)(threadIdx.x / 4) * depth + threadIdx.x % 4 * 4), step((ll)depth * (THREADS / 4)),
        most((rows - (int)threadIdx.x / 4 + THREADS / 4 - 1) / (THREADS / 4)), left(depth - threadIdx.x % 4 * 4), vec(quads) {}
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) v[q] = conv_weight_quad(at + q * step, q < most ? left : 0, vec);
    at += CONV_DEPTH, left -= CONV_DEPTH;
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
  const map_t *at; // of the first quad
  ll lines;        // that are left from there on
  int width, cols, vec;
  float4 v[Q];

  __device__ __forceinline__ ConvColumns(const map_t *x, ll depth, int elements, int most, int quads)
      : at(x + (ll)conv_line<B>(0) * elements + conv_column<B>()), lines(depth - conv_line<B>(0)), width(elements),
        cols(most - conv_column<B>()), vec(quads) {}
  __device__ __forceinline__ void load() {
    if (CONV_IDLE(B)) return;
#pragma unroll
    for (int q = 0; q < Q; q++) {
      int on = q * (THREADS / (B / 4));
      v[q] = conv_some(at + (ll)on * width, lines > on ? cols : 0, vec);
    }
    at += (ll)CONV_DEPTH * width, lines -= CONV_DEPTH;
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
  ll lines; // that are left from the first quad's on
  float4 v[Q];

  __device__ __forceinline__ ConvPixels(const ConvMap &map, const ConvShape &s, ll first, ll end, int col, int quads)
      : m(map), oh(s.oh), ow(s.ow), stride(s.stride), pad(s.pad), vec(quads), lines(end - first - conv_line<B>(0)) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      int at = col + conv_column<B>() + e;
      taps[e] = conv_tap(at, s.kw, s.cg);
      there[e] = at < s.kh * s.kw * s.cg;
    }
#pragma unroll
    for (int q = 0; q < Q; q++) {
      ll p = first + conv_line<B>(q);
      img[q] = (int)(p / ((ll)oh * ow)), i[q] = (int)(p / ow % oh), j[q] = (int)(p % ow);
    }
  }
  __device__ __forceinline__ bool inside(int q) const { return lines > q * (THREADS / (B / 4)); }
  __device__ __forceinline__ float single(int q, int e) {
    if (!there[e] || !inside(q)) return 0.0f;
    return conv_read(m, img[q], i[q] * stride - pad + taps[e].a, j[q] * stride - pad + taps[e].b, taps[e].c);
  }
  __device__ __forceinline__ float4 quad(int q) {
    float4 none = {0.0f, 0.0f, 0.0f, 0.0f};
    if (!there[0] || !inside(q)) return none;
    return conv_read4(m, img[q], i[q] * stride - pad + taps[0].a, j[q] * stride - pad + taps[0].b, taps[0].c);
  }
  __device__ __forceinline__ void forward(int q) {
    j[q] += CONV_DEPTH;
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
    lines -= CONV_DEPTH;
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
      v[q] = conv_weight_quad(w + at[q].c * line + (ll)(a * kw + b) * step, at[q].a < high ? cols : 0, vec);
      at[q].forward(CONV_DEPTH, width, kg);
    }
  }
  __device__ __forceinline__ void store(float4 *to) const { conv_store_along<B>(to, v); }
};

// Pools: a thread has a channel, or four, of an output row and loops over its
// window, or over the windows that see its pixel. Bound by memory; the reads that
// windows share are the cache's.

// A pool of maps of h x w into oh x ow.
struct Pool {
  int rows, c, h, w, oh, ow, kh, kw, stride, pad;
};

#define POOL_PARAMETERS int rows, int c, int h, int w, int oh, int ow, int kh, int kw, int stride, int pad
#define POOL \
  { rows, c, h, w, oh, ow, kh, kw, stride, pad }

// The places [row0, row1) x [col0, col1) that a window sees of the map.
struct Window {
  int row0, row1, col0, col1;
};

__device__ __forceinline__ Window window_of(const Pool &s, int i, int j) {
  int row = i * s.stride - s.pad, col = j * s.stride - s.pad;
  return {max(row, 0), min(row + s.kh, s.h), max(col, 0), min(col + s.kw, s.w)};
}

// The maximum and its place row*w+col in the input map: the first of equals, but
// a NaN wins, so that it is noticed. A row is an output pixel.
template <int V> __device__ void pool_max_map(const map_t *x, map_t *y, int *index, Pool s) {
  int ch = CHANNEL(V), place[V];
  if (ch >= s.c) return;
  float best[V], v[V];
  ROWS(p, s.rows) {
    Pixel at = pixel_of(p, s.oh, s.ow);
    Window to = window_of(s, at.i, at.j);
    const map_t *from = x + (ll)at.picture * s.h * s.w * s.c + ch;
    int first = to.row0 * s.w + to.col0;
    load<V>(from + (ll)first * s.c, best);
    for (int k = 0; k < V; k++) place[k] = first;
    for (int row = to.row0; row < to.row1; row++) {
      for (int col = to.col0; col < to.col1; col++) {
        int q = row * s.w + col;
        load<V>(from + (ll)q * s.c, v);
        for (int k = 0; k < V; k++)
          if (v[k] > best[k] || v[k] != v[k]) best[k] = v[k], place[k] = q;
      }
    }
    store<V>(y + (ll)p * s.c + ch, best);
    store_ints<V>(index + (ll)p * s.c + ch, place);
  }
}

extern "C" __global__ void pool_max(const map_t *x, map_t *y, int *index, POOL_PARAMETERS) { pool_max_map<1>(x, y, index, POOL); }
extern "C" __global__ void pool_max4(const map_t *x, map_t *y, int *index, POOL_PARAMETERS) { pool_max_map<4>(x, y, index, POOL); }

// The mean, padding counted as zeros. A row is an output pixel.
template <int V> __device__ void pool_mean_map(const map_t *x, map_t *y, Pool s) {
  int ch = CHANNEL(V);
  if (ch >= s.c) return;
  float f = 1.0f / (float)(s.kh * s.kw), sum[V], v[V];
  ROWS(p, s.rows) {
    Pixel at = pixel_of(p, s.oh, s.ow);
    Window to = window_of(s, at.i, at.j);
    const map_t *from = x + (ll)at.picture * s.h * s.w * s.c + ch;
    for (int k = 0; k < V; k++) sum[k] = 0.0f;
    for (int row = to.row0; row < to.row1; row++) {
      for (int col = to.col0; col < to.col1; col++) {
        load<V>(from + ((ll)row * s.w + col) * s.c, v);
        for (int k = 0; k < V; k++) sum[k] += v[k];
      }
    }
    for (int k = 0; k < V; k++) sum[k] *= f;
    store<V>(y + (ll)p * s.c + ch, sum);
  }
}

extern "C" __global__ void pool_mean(const map_t *x, map_t *y, POOL_PARAMETERS) { pool_mean_map<1>(x, y, POOL); }
extern "C" __global__ void pool_mean4(const map_t *x, map_t *y, POOL_PARAMETERS) { pool_mean_map<4>(x, y, POOL); }

// The windows that see pixel i, j: [row0, row1) x [col0, col1) of the output.
__device__ __forceinline__ int first_window(int i, int k, int stride, int pad) {
  int past = i + pad - k;  // the last start of a window that ends before i
  return past < 0 ? 0 : past / stride + 1;
}
__device__ __forceinline__ Window windows_at(const Pool &s, int i, int j) {
  return {first_window(i, s.kh, s.stride, s.pad), min((i + s.pad) / s.stride + 1, s.oh), first_window(j, s.kw, s.stride, s.pad),
          min((j + s.pad) / s.stride + 1, s.ow)};
}

// Each dy spread evenly over its window, gathered. A row is an input pixel.
template <int V> __device__ void pool_mean_grad_map(const map_t *dy, map_t *dx, Pool s) {
  int ch = CHANNEL(V);
  if (ch >= s.c) return;
  float f = 1.0f / (float)(s.kh * s.kw), sum[V], v[V];
  ROWS(p, s.rows) {
    Pixel at = pixel_of(p, s.h, s.w);
    Window by = windows_at(s, at.i, at.j);
    const map_t *from = dy + (ll)at.picture * s.oh * s.ow * s.c + ch;
    for (int k = 0; k < V; k++) sum[k] = 0.0f;
    for (int i = by.row0; i < by.row1; i++) {
      for (int j = by.col0; j < by.col1; j++) {
        load<V>(from + ((ll)i * s.ow + j) * s.c, v);
        for (int k = 0; k < V; k++) sum[k] += v[k];
      }
    }
    for (int k = 0; k < V; k++) sum[k] *= f;
    store<V>(dx + (ll)p * s.c + ch, sum);
  }
}

extern "C" __global__ void pool_mean_grad(const map_t *dy, map_t *dx, POOL_PARAMETERS) { pool_mean_grad_map<1>(dy, dx, POOL); }
extern "C" __global__ void pool_mean_grad4(const map_t *dy, map_t *dx, POOL_PARAMETERS) { pool_mean_grad_map<4>(dy, dx, POOL); }

// Each dy to its window's winner, gathered from the windows that see a pixel, in
// their order. A row is an input pixel. An index may name any pixel of the map:
// those outside of their window are left to the two kernels below.
template <int V> __device__ void pool_max_grad_map(const map_t *dy, const int *index, map_t *dx, Pool s) {
  int ch = CHANNEL(V), place[V];
  if (ch >= s.c) return;
  float sum[V], v[V];
  ROWS(p, s.rows) {
    Pixel at = pixel_of(p, s.h, s.w);
    Window by = windows_at(s, at.i, at.j);
    ll from = (ll)at.picture * s.oh * s.ow * s.c + ch;
    int own = at.i * s.w + at.j;
    for (int k = 0; k < V; k++) sum[k] = 0.0f;
    for (int i = by.row0; i < by.row1; i++) {
      for (int j = by.col0; j < by.col1; j++) {
        load_ints<V>(index + from + ((ll)i * s.ow + j) * s.c, place);
        load<V>(dy + from + ((ll)i * s.ow + j) * s.c, v);
        for (int k = 0; k < V; k++)
          if (place[k] == own) sum[k] += v[k];
      }
    }
    store<V>(dx + (ll)p * s.c + ch, sum);
  }
}

extern "C" __global__ void pool_max_grad(const map_t *dy, const int *index, map_t *dx, POOL_PARAMETERS) {
  pool_max_grad_map<1>(dy, index, dx, POOL);
}
extern "C" __global__ void pool_max_grad4(const map_t *dy, const int *index, map_t *dx, POOL_PARAMETERS) {
  pool_max_grad_map<4>(dy, index, dx, POOL);
}

// Whether a place lies in the map, but outside of window i, j.
__device__ __forceinline__ bool strays(const Pool &s, Window to, int place) {
  int row = place / s.w, col = place % s.w;
  return place >= 0 && row < s.h && (row < to.row0 || row >= to.row1 || col < to.col0 || col >= to.col1);
}

// Sets the flag of each picture and channel that has an index outside of its
// window; all who set one write the same. A row is an output pixel.
template <int V> __device__ void pool_max_strays_map(const int *index, int *flags, Pool s) {
  int ch = CHANNEL(V), place[V];
  if (ch >= s.c) return;
  ROWS(p, s.rows) {
    Pixel at = pixel_of(p, s.oh, s.ow);
    Window to = window_of(s, at.i, at.j);
    load_ints<V>(index + (ll)p * s.c + ch, place);
    for (int k = 0; k < V; k++)
      if (strays(s, to, place[k])) flags[(ll)at.picture * s.c + ch + k] = 1;
  }
}

extern "C" __global__ void pool_max_strays(const int *index, int *flags, POOL_PARAMETERS) { pool_max_strays_map<1>(index, flags, POOL); }
extern "C" __global__ void pool_max_strays4(const int *index, int *flags, POOL_PARAMETERS) { pool_max_strays_map<4>(index, flags, POOL); }

// Where the flag says that there are windows whose index lies outside of them, the
// pixels that such windows name are made anew: of those that see them, as above,
// and then of those that do not, in their order. A row is a picture.
extern "C" __global__ void pool_max_add_strays(const map_t *dy, const int *index, const int *flags, map_t *dx, POOL_PARAMETERS) {
  Pool s = POOL;
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(img, rows) {
    if (!flags[(ll)img * c + ch]) continue;
    for (int place = 0; place < h * w; place++) {
      map_t *to = dx + ((ll)img * h * w + place) * c + ch;
      float sum = 0.0f;
      bool some = false;
      for (int stray = 0; stray < 2; stray++) {
        for (int window = 0; window < oh * ow; window++) {
          ll at = ((ll)img * oh * ow + window) * c + ch;
          if (index[at] != place || strays(s, window_of(s, window / ow, window % ow), place) != stray) continue;
          sum += widened(dy[at]);
          some = stray;
        }
      }
      if (some) *to = narrowed(sum);
    }
  }
}

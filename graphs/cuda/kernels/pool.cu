// Pools: a thread has a channel of an output row and loops over its window, or
// over the windows that see its pixel. Bound by memory; the reads that windows
// share are the cache's.

// A pool of n maps of h x w into oh x ow.
#define POOL_PARAMETERS ll rows, int c, int h, int w, int oh, int ow, int kh, int kw, int stride, int pad

// The maximum and its place row*w+col in the input map: the first of equals, but
// a NaN wins, so that it is noticed. A row is an output pixel.
extern "C" __global__ void pool_max(const float *x, float *y, int *index, POOL_PARAMETERS) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(p, rows) {
    int j = (int)(p % ow), i = (int)(p / ow % oh);
    const float *from = x + p / ow / oh * h * w * c + ch;
    int row0 = max(i * stride - pad, 0), row1 = min(i * stride - pad + kh, h);
    int col0 = max(j * stride - pad, 0), col1 = min(j * stride - pad + kw, w);
    int at = row0 * w + col0;
    float best = from[(ll)at * c];
    for (int row = row0; row < row1; row++) {
      for (int col = col0; col < col1; col++) {
        float v = from[((ll)row * w + col) * c];
        if (v > best || v != v) best = v, at = row * w + col;
      }
    }
    y[p * c + ch] = best;
    index[p * c + ch] = at;
  }
}

// Each dy is added to its winner, in the order of windows: a thread has a picture
// and a channel, so that no two add to the same place. An index may name any pixel
// of the map; dx is zero before. A row is a picture.
extern "C" __global__ void pool_max_grad(const float *dy, const int *index, float *dx, ll rows, int c, int pixels, int size) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  ROWS(img, rows) {
    const float *g = dy + img * pixels * c + ch;
    const int *to = index + img * pixels * c + ch;
    float *sum = dx + img * size * c + ch;
#pragma unroll 4
    for (int p = 0; p < pixels; p++) {
      int at = to[(ll)p * c];
      if (at >= 0 && at < size) sum[(ll)at * c] += g[(ll)p * c];
    }
  }
}

// The mean, padding counted as zeros. A row is an output pixel.
extern "C" __global__ void pool_mean(const float *x, float *y, POOL_PARAMETERS) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  float f = 1.0f / (float)(kh * kw);
  ROWS(p, rows) {
    int j = (int)(p % ow), i = (int)(p / ow % oh);
    const float *from = x + p / ow / oh * h * w * c + ch;
    int row0 = max(i * stride - pad, 0), row1 = min(i * stride - pad + kh, h);
    int col0 = max(j * stride - pad, 0), col1 = min(j * stride - pad + kw, w);
    float sum = 0.0f;
    for (int row = row0; row < row1; row++)
      for (int col = col0; col < col1; col++) sum += from[((ll)row * w + col) * c];
    y[p * c + ch] = sum * f;
  }
}

// The windows [first, last] of a side that see pixel a.
__device__ __forceinline__ int first_window(int a, int k, int stride, int pad) {
  int past = a + pad - k;  // the last place before such a window's start
  return past < 0 ? 0 : past / stride + 1;
}
__device__ __forceinline__ int last_window(int a, int stride, int pad, int out) { return min((a + pad) / stride, out - 1); }

// Each dy spread evenly over its window, gathered. A row is an input pixel.
extern "C" __global__ void pool_mean_grad(const float *dy, float *dx, POOL_PARAMETERS) {
  int ch = CHANNEL(1);
  if (ch >= c) return;
  float f = 1.0f / (float)(kh * kw);
  ROWS(p, rows) {
    int b = (int)(p % w), a = (int)(p / w % h);
    const float *from = dy + p / w / h * oh * ow * c + ch;
    int i1 = last_window(a, stride, pad, oh), j0 = first_window(b, kw, stride, pad), j1 = last_window(b, stride, pad, ow);
    float sum = 0.0f;
    for (int i = first_window(a, kh, stride, pad); i <= i1; i++)
      for (int j = j0; j <= j1; j++) sum += from[((ll)i * ow + j) * c];
    dx[p * c + ch] = sum * f;
  }
}

// Views of pictures: the steps of device.View, a block a view.
//
// A block goes through its view's steps one after another. Between two of them the
// picture lies in one of the block's two planes, H x W x C float32, in scratch
// memory; a barrier ends every step. Blocks are as many as there is memory for, and
// a block takes every gridDim.x'th view, so that a view is no function of how many
// there are.
//
//	pictures --resample--> plane --colours, blur, resample--> plane --colours--> to
//
// A resample adds up all taps of both axes at once: a view is at most so much
// smaller than its picture that this costs little more than two passes, and it
// needs no memory between them. Steps that look at one pixel alone are done
// together, the last ones while the view is written.
//
// The table has VIEWS_HEAD words for each view and then the steps, VIEWS_STEP words
// each, and the weights of blurs; package cuda writes it (views_table.go).
//
// Bound by memory: a view is read and written once for each resample, blur (twice)
// and contrast.

#define VIEWS_THREADS 512
#define VIEWS_HEAD 8
#define VIEWS_STEP 8

// What device.ViewKind says.
enum { VIEWS_RESAMPLE, VIEWS_BRIGHTNESS, VIEWS_CONTRAST, VIEWS_SATURATE, VIEWS_HUE, VIEWS_GREY, VIEWS_BLUR };

// A view's head, and where its planes are.
struct ViewsState {
  const unsigned char *picture;
  int h, w, c;       // of what there is now
  int channels, row; // of the result
  const int *step;
  int steps;
  float *now, *next; // planes
};

// A triangle filter's taps for place o of m, out of n places: from..to, and their
// weights by distance in units of 1/(2m), not yet brought to a sum of 1. All numbers
// are below 2^31, as sides are below 2^14.
struct ViewsTaps {
  int from, to;
  int centre, reach, unit;

  __device__ __forceinline__ void place(int o, int n, int m) {
    unit = 2 * m;
    centre = (2 * o + 1) * n - m;
    reach = 2 * max(n, m);
    int low = centre - reach; // below 0 rounds up here, but then 0 is taken
    from = low < 0 ? 0 : low / unit + 1;
    to = min((centre + reach - 1) / unit, n - 1);
  }
  __device__ __forceinline__ float weight(int i) const { return 1.0f - (float)abs(i * unit - centre) / (float)reach; }
};

__device__ __forceinline__ float views_luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }
__device__ __forceinline__ float views_clamp(float v) { return fminf(fmaxf(v, 0.0f), 1.0f); }

// A pixel of the result of a resample: sums over a window's taps, in one order.
template <class T>
__device__ __forceinline__ void views_filter(const T *from, int width, int c, const ViewsTaps &rows, const ViewsTaps &columns, float *sum) {
  float all = 0.0f;
  sum[0] = sum[1] = sum[2] = 0.0f;
  for (int y = rows.from; y <= rows.to; y++) {
    const T *line = from + (ll)y * width * c;
    float r = 0.0f, g = 0.0f, b = 0.0f, shares = 0.0f;
    for (int x = columns.from; x <= columns.to; x++) {
      float weight = columns.weight(x);
      const T *p = line + x * c;
      shares += weight;
      r += weight * (float)p[0];
      if (c == 3) g += weight * (float)p[1], b += weight * (float)p[2];
    }
    float weight = rows.weight(y);
    all += weight * shares;
    sum[0] += weight * r, sum[1] += weight * g, sum[2] += weight * b;
  }
  for (int k = 0; k < 3; k++) sum[k] /= all;
}

// Brings a pixel from c channels to the view's.
__device__ __forceinline__ void views_channels(float *pixel, int c, int channels) {
  if (c == channels) return;
  if (channels == 1) pixel[0] = views_luma(pixel[0], pixel[1], pixel[2]);
  else pixel[1] = pixel[2] = pixel[0];
}

// Out of the picture, or of the plane.
static __device__ void views_resample(ViewsState &v, const int *s) {
  int top = s[1], left = s[2], cut_h = s[3], cut_w = s[4], h = s[5], w = s[6], mirrored = s[7];
  ll first = ((ll)top * v.w + left) * v.c;
  for (int i = threadIdx.x; i < h * w; i += VIEWS_THREADS) {
    int y = i / w, x = i % w;
    float pixel[3];
    ViewsTaps rows, columns;
    rows.place(y, cut_h, h);
    columns.place(mirrored ? w - 1 - x : x, cut_w, w);
    if (v.picture) {
      views_filter(v.picture + first, v.w, v.c, rows, columns, pixel);
      for (int k = 0; k < 3; k++) pixel[k] *= 1.0f / 255.0f;
    } else {
      views_filter(v.now + first, v.w, v.c, rows, columns, pixel);
    }
    views_channels(pixel, v.c, v.channels);
    for (int k = 0; k < v.channels; k++) v.next[i * v.channels + k] = pixel[k];
  }
  float *now = v.now;
  v.now = v.next, v.next = now, v.picture = 0;
  v.h = h, v.w = w, v.c = v.channels;
  __syncthreads();
}

// An index beyond the first or last place, mirrored there.
__device__ __forceinline__ int views_mirror(int i, int n) {
  if ((unsigned)i < (unsigned)n) return i;
  if (n == 1) return 0;
  int period = 2 * (n - 1);
  i = abs(i) % period;
  return min(i, period - i);
}

// One pass of a blur: places of an axis lie step elements apart, and an element's
// place is at/step modulo n.
static __device__ void views_blur(const float *from, float *to, int elements, int step, int n, const int *kernel, int reach) {
  for (int at = threadIdx.x; at < elements; at += VIEWS_THREADS) {
    int place = at / step % n;
    const float *line = from + at - place * step;
    float sum = __int_as_float(kernel[0]) * line[place * step];
    for (int k = 1; k <= reach; k++)
      sum += __int_as_float(kernel[k]) * (line[views_mirror(place - k, n) * step] + line[views_mirror(place + k, n) * step]);
    to[at] = sum;
  }
  __syncthreads();
}

// Turns a hue on the hexcone: on a circle of 6, red is full within 1 of 0 and gone
// from 2 on, green likewise about 2, blue about 4.
__device__ __forceinline__ void views_hue(float *p, float sixths) {
  float r = p[0], g = p[1], b = p[2];
  float top = fmaxf(r, fmaxf(g, b)), low = fminf(r, fminf(g, b)), span = top - low;
  float by = fmaxf(span, 1e-30f);
  float h = r == top ? (g - b) / by : g == top ? (b - r) / by + 2.0f : (r - g) / by + 4.0f;
  h += sixths;
  if (h < 0.0f) h += 6.0f;
  if (h >= 6.0f) h -= 6.0f;
  p[0] = low + span * views_clamp(fabsf(h - 3.0f) - 1.0f);
  p[1] = low + span * views_clamp(2.0f - fabsf(h - 2.0f));
  p[2] = low + span * views_clamp(2.0f - fabsf(h - 4.0f));
}

// A step that looks at one pixel alone. Of a contrast mean is the picture's.
__device__ __forceinline__ void views_colour(const int *s, float mean, int c, float *p) {
  float f = __int_as_float(s[1]), rest = 0.0f;
  switch (s[0]) {
  case VIEWS_HUE:
    if (c == 3 && f != 0.0f) views_hue(p, 6.0f * f);
    return;
  case VIEWS_GREY:
    if (c == 3) p[0] = p[1] = p[2] = views_luma(p[0], p[1], p[2]);
    return;
  case VIEWS_SATURATE:
    if (c != 3) return;
    rest = (1.0f - f) * views_luma(p[0], p[1], p[2]);
    break;
  case VIEWS_CONTRAST:
    rest = (1.0f - f) * mean;
  }
  if (f == 1.0f) return;
  for (int k = 0; k < c; k++) p[k] = views_clamp(p[k] * f + rest);
}

__device__ __forceinline__ bool views_is_colour(int kind) { return kind != VIEWS_RESAMPLE && kind != VIEWS_BLUR; }

// The mean of the plane's grey: each thread adds up its pixels, then halves add up.
static __device__ float views_mean(const ViewsState &v) {
  __shared__ double part[VIEWS_THREADS];
  double sum = 0.0;
  for (int i = threadIdx.x; i < v.h * v.w; i += VIEWS_THREADS) {
    const float *p = v.now + i * v.c;
    sum += v.c == 1 ? (double)p[0] : 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
  }
  part[threadIdx.x] = sum;
  __syncthreads();
  for (int half = VIEWS_THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    __syncthreads();
  }
  sum = part[0];
  __syncthreads();
  return (float)(sum / ((double)v.h * v.w));
}

// Where a view is written: a row of the tensor, and what its values become.
struct ViewsOut {
  float *wide; // one of the two
  unsigned short *narrow;
  float mean[3], scale[3];

  // The upper half of a float32, rounded to the nearest, to even where two are.
  __device__ __forceinline__ void put(ll at, int k, float v) const {
    v = (v - mean[k]) * scale[k];
    unsigned b = __float_as_uint(v);
    if (wide) wide[at] = v;
    else narrow[at] = (unsigned short)((v != v ? b | 0x400000u : b + 0x7fffu + (b >> 16 & 1u)) >> 16);
  }
};

// The steps from first to end, of which each looks at one pixel alone but that the
// first may be a contrast. With out the pixels are written there, else back.
static __device__ void views_colours(ViewsState &v, int first, int end, const ViewsOut *out) {
  const int *steps = v.step + first * VIEWS_STEP;
  int n = end - first;
  float mean = n > 0 && steps[0] == VIEWS_CONTRAST && __int_as_float(steps[1]) != 1.0f ? views_mean(v) : 0.0f;
  for (int i = threadIdx.x; i < v.h * v.w; i += VIEWS_THREADS) {
    float pixel[3];
    for (int k = 0; k < v.c; k++) pixel[k] = v.now[i * v.c + k];
    for (int k = 0; k < n; k++) views_colour(steps + k * VIEWS_STEP, mean, v.c, pixel);
    for (int k = 0; k < v.c; k++) {
      if (out) out->put(((ll)v.row * v.h * v.w + i) * v.c + k, k, pixel[k]);
      else v.now[i * v.c + k] = pixel[k];
    }
  }
  __syncthreads();
}

// All steps of a view. The first is a resample.
static __device__ void views_make(ViewsState &v, const int *table, const ViewsOut &out) {
  int k = 0;
  while (k < v.steps) {
    const int *s = v.step + k * VIEWS_STEP;
    if (s[0] == VIEWS_RESAMPLE) {
      views_resample(v, s);
      k++;
      continue;
    }
    if (s[0] == VIEWS_BLUR) {
      int elements = v.h * v.w * v.c;
      views_blur(v.now, v.next, elements, v.c, v.w, table + s[1], s[2]);
      views_blur(v.next, v.now, elements, v.w * v.c, v.h, table + s[1], s[2]);
      k++;
      continue;
    }
    int end = k + 1;
    while (end < v.steps && views_is_colour(v.step[end * VIEWS_STEP]) && v.step[end * VIEWS_STEP] != VIEWS_CONTRAST) end++;
    if (end == v.steps) break;
    views_colours(v, k, end, 0);
    k = end;
  }
  views_colours(v, k, v.steps, &out);
}

// to is count rows or more, float32 or, where narrow, bfloat16. planes holds two of
// plane floats for each block.
extern "C" __global__ void __launch_bounds__(VIEWS_THREADS)
    views(const int *table, int count, const unsigned char *pictures, float *planes, ll plane, void *to, int narrow, int channels,
          float mean0, float mean1, float mean2, float scale0, float scale1, float scale2) {
  ViewsOut out = {narrow ? 0 : (float *)to, (unsigned short *)to, {mean0, mean1, mean2}, {scale0, scale1, scale2}};
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    const int *head = table + i * VIEWS_HEAD;
    ViewsState v;
    v.picture = pictures + (ll)head[0] * 16;
    v.h = head[1], v.w = head[2], v.c = head[3];
    v.row = head[4], v.channels = channels;
    v.step = table + head[5], v.steps = head[6];
    v.now = planes + 2 * plane * blockIdx.x, v.next = v.now + plane;
    views_make(v, table, out);
  }
}

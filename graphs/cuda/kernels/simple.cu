// Element by element.

extern "C" __global__ void relu(const float *x, float *y, ll n) {
  EACH(i, n) y[i] = rectified(x[i]);
}

extern "C" __global__ void relu_grad(const float *dy, const float *y, float *dx, ll n) {
  EACH(i, n) dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

extern "C" __global__ void add(const float *a, const float *b, float *y, ll n) {
  EACH(i, n) y[i] = a[i] + b[i];
}

// g += scale*(a-b)
extern "C" __global__ void pull(const float *a, const float *b, float *g, float scale, ll n) {
  EACH(i, n) g[i] += scale * (a[i] - b[i]);
}

// Adds a bias [c] to maps of c channels, after a product that has none.
extern "C" __global__ void add_bias(const float *bias, float *y, int c, ll n) {
  EACH(i, n) y[i] += bias[i % c];
}

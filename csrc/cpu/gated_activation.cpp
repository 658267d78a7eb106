#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

f32x8 silu(f32x8 x) { return x / (splat(1.0f) + exp(splat(0.0f) - x)); }

f32x8 gelu_tanh(f32x8 x) {
  const f32x8 inner = splat(0.797884561f) * fma(splat(0.044715f) * x * x, x, x);  // sqrt(2 / pi)
  return splat(0.5f) * x * (splat(1.0f) + tanh(inner));
}

// Few models use it, so the C library's erf will do.
f32x8 gelu_erf(f32x8 x) {
  float t[kLanes];
  store(t, x);
  for (float& v : t) v = 0.5f * v * (1.0f + std::erf(v * 0.707106781f));
  return load(t);
}

template <typename Activation>
void gated(const float* x, int64_t x_stride, float* y, int64_t rows, int64_t dim, Activation activation) {
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    const float* gate = x + row * x_stride + i;
    store_upto(y + row * dim + i, n, activation(load_upto(gate, n)) * load_upto(gate + dim, n));
  });
}

}  // namespace

void gated_activation(int kind, const float* x, int64_t x_stride, float* y, int64_t rows, int64_t dim) {
  if (kind == 0) gated(x, x_stride, y, rows, dim, [](f32x8 v) { return silu(v); });
  else if (kind == 1) gated(x, x_stride, y, rows, dim, [](f32x8 v) { return gelu_tanh(v); });
  else gated(x, x_stride, y, rows, dim, [](f32x8 v) { return gelu_erf(v); });
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/declare.h"
#include "simd.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

float mean_square(const float* x, int64_t dim) {
  f32x8 acc = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const f32x8 v = load(x + i);
    acc = fma(v, v, acc);
  }
  float total = sum(acc);
  for (; i < dim; ++i) total = fma(x[i], x[i], total);
  return total / static_cast<float>(dim);
}

}  // namespace

void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t rows,
             int64_t dim) {
  parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * x_stride;
      float* out = y + r * dim;
      const float scale = 1.0f / std::sqrt(mean_square(in, dim) + eps);
      int64_t i = 0;
      for (; i + kLanes <= dim; i += kLanes) store(out + i, load(in + i) * splat(scale) * load(weight + i));
      for (; i < dim; ++i) out[i] = in[i] * scale * weight[i];
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

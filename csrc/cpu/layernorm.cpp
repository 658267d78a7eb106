#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/moments.h"

namespace redline {
namespace REDLINE_ISA {

void layernorm(const float* x, int64_t x_stride, const float* weight, const float* bias, float eps, float* y,
               int64_t rows, int64_t dim) {
  parallel_for(rows, rows_per_thread(dim), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * x_stride;
      float* out = y + r * dim;
      const float center = mean(in, dim);
      const float scale = 1.0f / std::sqrt(variance(in, center, dim) + eps);
      for (int64_t i = 0; i < dim; i += kLanes) {
        const int64_t n = dim - i < kLanes ? dim - i : kLanes;
        const f32x8 shift = bias ? load_upto(bias + i, n) : splat(0.0f);
        const f32x8 unit = (load_upto(in + i, n) - splat(center)) * splat(scale);
        store_upto(out + i, n, fma(unit, load_upto(weight + i, n), shift));
      }
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/moments.h"

namespace redline {
namespace REDLINE_ISA {

void gaussian_topk(const float* x, int64_t x_stride, float deviations, float* y, int64_t rows, int64_t dim) {
  parallel_for(rows, rows_per_thread(dim), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * x_stride;
      const float center = mean(in, dim);
      const f32x8 cutoff = splat(center + std::sqrt(variance(in, center, dim)) * deviations);
      for (int64_t i = 0; i < dim; i += kLanes) {
        const int64_t n = dim - i < kLanes ? dim - i : kLanes;
        store_upto(y + r * dim + i, n, max(load_upto(in + i, n) - cutoff, splat(0.0f)));
      }
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/normalise.h"

namespace redline {
namespace REDLINE_ISA {

void match_magnitude(const float* x, int64_t x_stride, const float* like, int64_t like_stride, float least, float* y,
                     int64_t rows, int64_t dim) {
  parallel_for(rows, rows_per_thread(dim), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x + r * x_stride;
      const float own = mean_square(in, dim), wanted = mean_square(like + r * like_stride, dim);
      const f32x8 factor = splat(std::sqrt(wanted) / std::sqrt(own < least ? least : own));
      for (int64_t i = 0; i < dim; i += kLanes) {
        const int64_t n = dim - i < kLanes ? dim - i : kLanes;
        store_upto(y + r * dim + i, n, load_upto(in + i, n) * factor);
      }
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

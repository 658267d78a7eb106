#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/normalise.h"

namespace redline {
namespace REDLINE_ISA {
void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t tokens,
             int64_t heads, int64_t dim) {
  parallel_for(tokens, rows_per_thread(heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        normalise(x + t * x_stride + h * dim, weight, eps, y + (t * heads + h) * dim, dim);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

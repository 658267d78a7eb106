#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/rotate.h"

namespace redline {
namespace REDLINE_ISA {

void rope(const float* x, int64_t x_stride, const RopeArgs& a, float* y, int64_t tokens, int64_t heads, int64_t dim) {
  parallel_for(tokens, rows_per_thread(heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) rotate(a, t, x + t * x_stride, y + t * heads * dim, heads, dim);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {

void scale(const float* x, int64_t x_stride, float factor, float* y, int64_t rows, int64_t dim) {
  const f32x8 factors = splat(factor);
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    store_upto(y + row * dim + i, n, load_upto(x + row * x_stride + i, n) * factors);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

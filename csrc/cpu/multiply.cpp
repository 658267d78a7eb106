#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {

void multiply(const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* z, int64_t rows, int64_t dim) {
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    const f32x8 a = load_upto(x + row * x_stride + i, n), b = load_upto(y + row * y_stride + i, n);
    store_upto(z + row * dim + i, n, a * b);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

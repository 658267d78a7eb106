#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {

void softcap(const float* x, int64_t x_stride, float cap, float* y, int64_t rows, int64_t dim) {
  const f32x8 caps = splat(cap);
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    const f32x8 v = load_upto(x + row * x_stride + i, n);
    store_upto(y + row * dim + i, n, caps * tanh(v / caps));
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

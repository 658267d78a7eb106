#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/normalise.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

void add_row(const float* a, const float* b, float* out, int64_t dim) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store(out + i, load(a + i) + load(b + i));
  for (; i < dim; ++i) out[i] = a[i] + b[i];
}

}  // namespace

void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t tokens,
             int64_t heads, int64_t dim) {
  parallel_for(tokens, rows_per_thread(heads * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        normalise(x + t * x_stride + h * dim, weight, eps, y + (t * heads + h) * dim, dim);
  });
}

void add_rmsnorm(const float* x, int64_t x_stride, const float* residual, int64_t residual_stride,
                 const float* weight, float eps, float* y, float* total, int64_t rows, int64_t dim) {
  parallel_for(rows, rows_per_thread(dim), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      add_row(x + r * x_stride, residual + r * residual_stride, total + r * dim, dim);
      normalise(total + r * dim, weight, eps, y + r * dim, dim);
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

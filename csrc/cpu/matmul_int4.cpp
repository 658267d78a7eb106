#include "cpu/declare.h"
#include "cpu/matmul_int.h"

namespace redline {
namespace REDLINE_ISA {

namespace {

template <int kPlanes>
void choose(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y) {
  if (w.half_scales && w.mins) return matmul<Format<4, true, f16, 32, kPlanes>>(x, x_stride, rows, w, y);
  if (w.half_scales) return matmul<Format<4, false, f16, 32, kPlanes>>(x, x_stride, rows, w, y);
  if (w.mins) return matmul<Format<4, true, float, 32, kPlanes>>(x, x_stride, rows, w, y);
  matmul<Format<4, false, float, 32, kPlanes>>(x, x_stride, rows, w, y);
}

}  // namespace

void matmul_int4(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y) {
  w.planes == 2 ? choose<2>(x, x_stride, rows, w, y) : choose<1>(x, x_stride, rows, w, y);
}

bool embedding_int4(const int32_t* ids, int64_t count, const IntMatrix& w, float* y) {
  return embedding<4>(ids, count, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

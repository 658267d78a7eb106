#include "cpu/declare.h"
#include "cpu/matmul_int.h"

namespace redline {
namespace REDLINE_ISA {

namespace {

template <int kPlanes>
void choose(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  if (w.half_scales && w.mins) return matmul<IntMatmul<Format<4, true, f16, 32, kPlanes>>>(x, w, y);
  if (w.half_scales) return matmul<IntMatmul<Format<4, false, f16, 32, kPlanes>>>(x, w, y);
  if (w.mins) return matmul<IntMatmul<Format<4, true, float, 32, kPlanes>>>(x, w, y);
  matmul<IntMatmul<Format<4, false, float, 32, kPlanes>>>(x, w, y);
}

}  // namespace

void matmul_int4(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  w.planes == 2 ? choose<2>(x, w, y) : choose<1>(x, w, y);
}

bool embedding_int4(const int32_t* ids, int64_t count, const IntMatrix& w, float* y) {
  return embedding<4>(ids, count, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

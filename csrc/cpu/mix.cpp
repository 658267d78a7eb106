#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {

void mix(const MixArgs& args) {
  elementwise(args.rows, args.dim, [&](int64_t row, int64_t i, int64_t n) {
    const float* weights = args.weights + row * args.weights_stride;
    f32x8 total = load_upto(args.addend + row * args.addend_stride + i, n);
    for (int64_t m = 0; m < args.num_mixed; ++m)
      total = fma(splat(weights[m]), load_upto(args.x[m] + row * args.x_stride[m] + i, n), total);
    store_upto(args.y + row * args.dim + i, n, total);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

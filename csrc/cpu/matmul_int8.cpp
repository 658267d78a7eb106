#include "cpu/matmul_int.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

bool matmul_int8(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<8, false, PlainScales<f16, false>, PlainScales<f16, true>, PlainScales<float, false>,
                       PlainScales<float, true>, PlainScales<float, false, 16>>(x, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/matmul_int.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

// f32 serves checkpoints whose scales do not fit f16; nested8 is Q4_K.
bool matmul_int4(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<4, false, PlainScales<f16, false>, PlainScales<f16, true>, PlainScales<float, false>,
                       PlainScales<float, true>, NestedScales<8, true>>(x, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/matmul_int.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

// Q5_0, Q5_1 and Q5_K.
bool matmul_int5(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<5, false, PlainScales<f16, false>, PlainScales<f16, true>, NestedScales<8, true>>(x, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

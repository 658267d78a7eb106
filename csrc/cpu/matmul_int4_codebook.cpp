#include "cpu/matmul_int.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

// IQ4_NL and IQ4_XS.
bool matmul_int4_codebook(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<4, true, PlainScales<f16, false>, NestedScales<8, false>>(x, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/matmul_int.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

// Q2_K, Q3_K and Q6_K: one format each.
bool matmul_int2(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<2, false, NestedScales<4, true, 16>>(x, w, y);
}
bool matmul_int3(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<3, false, NestedScales<8, false, 16>>(x, w, y);
}
bool matmul_int6(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_scaled<6, false, NestedScales<8, false, 16>>(x, w, y);
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include "cpu/declare.h"
#include "cpu/matmul_int_bits.h"

namespace redline {
namespace REDLINE_ISA {

bool matmul_int(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  switch (w.bits) {
    case 2: return matmul_int2(x, w, y);
    case 3: return matmul_int3(x, w, y);
    case 4: return w.codebook ? matmul_int4_codebook(x, w, y) : matmul_int4(x, w, y);
    case 5: return matmul_int5(x, w, y);
    case 6: return matmul_int6(x, w, y);
    case 8: return matmul_int8(x, w, y);
    default: return false;
  }
}

}  // namespace REDLINE_ISA
}  // namespace redline

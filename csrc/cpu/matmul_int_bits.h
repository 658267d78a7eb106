// matmul_int for each width of codes, in files of their own so that they compile side by side.
#pragma once
#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

bool matmul_int2(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int3(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int4(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int4_codebook(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int5(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int6(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool matmul_int8(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);

}  // namespace REDLINE_ISA
}  // namespace redline

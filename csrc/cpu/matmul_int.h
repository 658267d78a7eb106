// What the integer formats share: the loops over rows and blocks, and the tile they call.
//
// For each group the products of codes are summed exactly in integers; float32 then does, per output and
// in the order of the groups, the same sequence on one row or many:
//   y = fma(weight scale * activation scale, sum, y);  y = fma(min, scaled sum of activations, y)
#pragma once
#include <algorithm>

#include "cpu/activations.h"
#include "cpu/matmul_loop.h"
#if REDLINE_ISA_amx
#include "cpu/matmul_int_amx.h"
#elif REDLINE_ISA_avx512
#include "cpu/int_tile_avx512.h"
#elif REDLINE_ISA_avx2
#include "cpu/int_tile_avx2.h"
#else
#include "cpu/int_tile_scalar.h"
#endif

namespace redline {
namespace REDLINE_ISA {
namespace {

#if !REDLINE_ISA_amx
// The rows that do not fill a tile.
template <typename F, int kRows>
void multiply_last(int64_t rows, const Tile& t) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply<F, kRows>(t);
    multiply_last<F, kRows - 1>(rows, t);
  }
}

// The format F of a matrix as matmul_loop.h wants it.
template <typename F>
struct IntMatmul : NoPanels {
  using Matrix = IntMatrix;
  using Rows = Activations;

  static int64_t bytes_per_row(const IntMatrix& w) { return w.inputs * w.planes; }
  static Rows allocate(const IntMatrix& w, int64_t rows) { return allocate_activations(w, rows); }
  static void prepare(const IntMatrix& w, const Rows& a, int64_t row, const float* x) { quantise_row(x, w, a, row); }

  static void multiply(const IntMatrix& w, const Rows& a, Panels, int64_t, int64_t rows, const Strip* strips, int n) {
    for (int i = 0; i < n; ++i) {
      const Strip& s = strips[i];
      const auto tile = [&](int64_t row) { return Tile{a, w, row, s.block, s.y + row * s.stride, s.stride, s.lanes}; };
      int64_t row = 0;
      for (; row + kTileRows <= rows; row += kTileRows) redline::REDLINE_ISA::multiply<F, kTileRows>(tile(row));
      multiply_last<F, kTileRows - 1>(rows - row, tile(row));
    }
  }
};
#endif

// Runs the format that fits the matrix, if there is one.
template <typename... F>
bool matmul_any(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return ((F::fits(w) ? (matmul<IntMatmul<F>>(x, w, y), true) : false) || ...);
}

// Codes of kBits, or 4-bit indices of a codebook, with any of the scales.
template <int kBits, bool kCodebook, typename... Scales>
bool matmul_scaled(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y) {
  return matmul_any<Format<kBits, kCodebook, 1, Scales>..., Format<kBits, kCodebook, 2, Scales>...>(x, w, y);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

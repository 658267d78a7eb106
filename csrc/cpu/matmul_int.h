// What matmul_int8 and matmul_int4 share: the loops over rows and blocks, and the tile they call.
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
struct IntMatmul {
  using Matrix = IntMatrix;
  using Rows = Activations;

  static int64_t bytes_per_row(const IntMatrix& w) { return w.inputs * w.planes; }
  static Rows allocate(const IntMatrix& w, int64_t rows) { return allocate_activations(w, rows); }
  static void prepare(const IntMatrix& w, const Rows& a, int64_t row, const float* x) { quantise_row(x, w, a, row); }

  static void multiply(const IntMatrix& w, const Rows& a, int64_t rows, const Strip* strips, int n) {
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

template <int kBits>
bool embedding(const int32_t* ids, int64_t count, const IntMatrix& w, float* y) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= w.outputs) return false;
  const int64_t groups = ceil_div(w.inputs, kGroup), scale_groups = groups * (kGroup / w.group);
  const auto value = [&](const void* from, int64_t index) {
    return w.half_scales ? widen(static_cast<const f16*>(from)[index]) : static_cast<const float*>(from)[index];
  };
  parallel_for(count, 1 + 16384 / w.inputs, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t block = ids[i] / kBlock, lane = ids[i] % kBlock;
      const uint8_t* cells = w.codes + block * groups * kCellBytes<kBits>;
      for (int64_t k = 0; k < w.inputs; ++k) {
        const int64_t at = (block * scale_groups + k / w.group) * kBlock + lane;
        const int32_t code = code_at(cells + k / kGroup * kCellBytes<kBits>, kBits, lane, k % kGroup) - w.offset;
        const float product = value(w.scales, at) * static_cast<float>(code);
        y[i * w.inputs + k] = w.mins ? product + value(w.mins, at) : product;
      }
    }
  });
  return true;
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

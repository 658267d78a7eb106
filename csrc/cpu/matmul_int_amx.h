// The integer matmuls on the tiles of AMX, in fixed point (see int_fixed.h).
//
// A tile instruction multiplies 16 rows of 64 signed bytes with 64 x 16 and adds the products to 16 x 16 sums in 32
// bits. Every plane of activations meets every plane of weights, and products of the same weight share a tile of
// sums; up to kMostInputs inputs these cannot overflow. They leave the tiles once per 16 rows and strip, and are
// joined while the next ones are multiplied. A few strips at a time are made planes, in the second-level cache, and
// meet 16 rows after 16 rows, in the first.
#pragma once
#include <algorithm>
#include <array>

#include "cpu/amx.h"
#include "cpu/int_dot_fixed.h"
#include "cpu/matmul_loop.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kMostInputs = 65536;
constexpr int64_t kManyRows = 64;
constexpr int64_t kLastFew = 2;  // rows for which making planes of weights does not pay

// Sums are in tiles 0 to 3, activations in 4 and 5, weights in 6 and 7.
constexpr std::array<TileConfig, kTileRows + 1> kShapes = [] {
  std::array<TileConfig, kTileRows + 1> shapes{};
  for (int rows = 1; rows <= kTileRows; ++rows)
    for (int tile = 0; tile < 8; ++tile) {
      shapes[rows].rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : 16);
      shapes[rows].row_bytes[tile] = 64;
    }
  return shapes;
}();

// The compiler does not know that a tile is loaded from what it stored, nor the reverse.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// Adds 64 inputs of 16 rows times 16 outputs to the tiles of sums, the highest first. Instructions on the same
// sums are kept apart.
template <int kPlanes>
inline void multiply_tiles(const uint8_t* x, const uint8_t* w) {
  _tile_loadd(4, x, 64);
  _tile_loadd(6, w, 64);
  _tile_dpbssd(0, 4, 6);
  _tile_loadd(7, w + kTileBytes, 64);
  _tile_dpbssd(1, 4, 7);
  _tile_loadd(5, x + kTileBytes, 64);
  _tile_dpbssd(2, 5, 7);
  _tile_dpbssd(1, 5, 6);
  if constexpr (kPlanes == 3) {
    _tile_loadd(6, w + 2 * kTileBytes, 64);
    _tile_dpbssd(2, 4, 6);
    _tile_dpbssd(3, 5, 6);
  }
}

inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

template <int kPlanes>
inline void load_sums(const int32_t* from) {
  _tile_loadd(0, from, 64);
  _tile_loadd(1, from + 256, 64);
  _tile_loadd(2, from + 512, 64);
  if constexpr (kPlanes == 3) _tile_loadd(3, from + 768, 64);
}

template <int kPlanes>
inline void store_sums(int32_t* to) {
  _tile_stored(0, to, 64);
  _tile_stored(1, to + 256, 64);
  _tile_stored(2, to + 512, 64);
  if constexpr (kPlanes == 3) _tile_stored(3, to + 768, 64);
  finish_stores();
}

// Sums that have left the tiles, on their way to the outputs of some rows of a strip.
struct Leaving {
  const int32_t* sums;
  const float* scales;
  float* y;
  int64_t stride, rows;
  __m512 unit;
  __mmask16 mask;
};

inline __m512d eight(const int32_t* p) {
  return _mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}

// All terms are integers below 2^53, so this is exact until it is rounded to a float.
template <int kPlanes>
inline __m512 join_sums(const int32_t* sums) {
  __m512d low = eight(sums), high = eight(sums + 8);
#pragma GCC unroll 3
  for (int i = 1; i <= kPlanes; ++i) {
    low = _mm512_fmadd_pd(low, _mm512_set1_pd(256.0), eight(sums + 256 * i));
    high = _mm512_fmadd_pd(high, _mm512_set1_pd(256.0), eight(sums + 256 * i + 8));
  }
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

template <int kPlanes>
inline void write_rows(Leaving& l, int64_t rows) {
  for (; rows > 0 && l.rows > 0; --rows, --l.rows, l.sums += kBlock, ++l.scales, l.y += l.stride) {
    const __m512 unit = _mm512_mul_ps(l.unit, _mm512_set1_ps(*l.scales));
    _mm512_mask_storeu_ps(l.y, l.mask, _mm512_mul_ps(join_sums<kPlanes>(l.sums), unit));
  }
}

// Inputs are taken in parts of which 16 rows fit half the first-level cache: so many tiles of 64.
constexpr int64_t kMostTiles = 12;

// Rows [first, first + count), all in one tile, times n strips, with planes of weights one behind the other. The first
// rows make these, a tile ahead of what they multiply: that takes vectors while the tiles are at work. Returns what
// is left to write.
template <typename F, bool kBuilding>
Leaving multiply_planes(const IntMatrix& w, const FixedRows& rows, uint8_t* planes, int64_t first, int64_t count,
                        const Strip* strips, int n, Leaving leaving) {
  constexpr int kPlanes = kWeightPlanes<F>;
  constexpr int64_t kStep = kPlanes * kTileBytes;
  int32_t* sums = reinterpret_cast<int32_t*>(scratch<kSumsScratch>(n * 4 * kTileBytes));
  int64_t from = 0;
  for (int64_t parts = ceil_div(rows.tiles, kMostTiles); parts > 0; --parts) {
    const int64_t tiles = ceil_div(rows.tiles - from, parts), written_at_once = ceil_div(kTileRows, tiles);
    for (int i = 0; i < n; ++i) {
      const Strip& s = strips[i];
      const WeightPlanes<F> weights(w, s.block, rows.scale_groups / F::kParts);
      const uint8_t* x = rows.row(first) + from * 2 * kTileBytes;
      uint8_t* panel = planes + (i * rows.tiles + from) * kStep;
      int32_t* its_sums = sums + i * kTileBytes;
      from == 0 ? clear_sums() : load_sums<kPlanes>(its_sums);
      if (kBuilding) weights.build(from, panel);
      for (int64_t t = 0; t < tiles; ++t, x += 2 * kTileBytes, panel += kStep) {
        if (kBuilding && t + 1 < tiles) weights.build(from + t + 1, panel + kStep);
        finish_stores();
        multiply_tiles<kPlanes>(x, panel);
        write_rows<kPlanes>(leaving, written_at_once);
      }
      store_sums<kPlanes>(its_sums);
      if (parts == 1)
        leaving = {its_sums, rows.scales + first, s.y + first * s.stride, s.stride, count,
                   _mm512_loadu_ps(w.units + s.block * kBlock), static_cast<__mmask16>((1u << s.lanes) - 1)};
    }
    from += tiles;
  }
  return leaving;
}

// The same for any rows from a tile on.
template <typename F>
void multiply_row_tiles(const IntMatrix& w, const FixedRows& rows, uint8_t* planes, int64_t first, int64_t end,
                        const Strip* strips, int n) {
  Leaving leaving{};
  while (first < end) {
    const int64_t count = std::min(kTileRows, end - first);
    const Tiles shape(kShapes[count]);
    for (; first + count <= end; first += count)
      leaving = first == 0 ? multiply_planes<F, true>(w, rows, planes, first, count, strips, n, leaving)
                           : multiply_planes<F, false>(w, rows, planes, first, count, strips, n, leaving);
  }
  write_rows<kWeightPlanes<F>>(leaving, kTileRows);
}

// The format F of a matrix as matmul_loop.h wants it.
template <typename F>
struct FixedMatmul {
  using Matrix = IntMatrix;
  using Rows = FixedRows;

  static int64_t tiles(const IntMatrix& w) { return ceil_div(w.inputs, 64); }
  static int64_t scale_groups(const IntMatrix& w) { return ceil_div(w.inputs, kGroup) * F::kParts; }
  static int64_t bytes_per_row(const IntMatrix& w) { return tiles(w) * 128; }
  static bool few(const IntMatrix& w, int64_t rows) { return rows <= kLastFew || w.inputs > kMostInputs; }

  static Rows allocate(const IntMatrix& w, int64_t rows) {
    const int64_t planes = ceil_div(rows, kTileRows) * kTileRows * bytes_per_row(w);
    const int64_t sums = few(w, rows) ? rows * scale_groups(w) * sizeof(int32_t) : 0;
    uint8_t* memory = scratch<kRowsScratch>(planes + sums + rows * sizeof(float));
    FixedRows made{memory, nullptr, nullptr, tiles(w), scale_groups(w)};
    if (sums) made.sums = reinterpret_cast<int32_t*>(memory + planes);
    made.scales = reinterpret_cast<float*>(memory + planes + sums);
    return made;
  }

  static void prepare(const IntMatrix& w, const Rows& rows, int64_t r, const float* x) {
    quantise_fixed_row(rows, r, x, w.inputs, F::kParts);
  }

  static constexpr int kStrips = 8;
  static constexpr int64_t kRowsAtOnce = 2 * kTileRows;
  // Many rows are read again for each few strips; with few, planes should still be in the first-level cache.
  static int64_t strips_together(int64_t rows) { return rows > kManyRows ? kStrips : 4; }
  static int64_t tasks_per_thread(int64_t rows) { return rows > kManyRows ? 3 : rows <= 64 ? 2 : 8; }
  using Panels = uint8_t*;  // a place for the planes of each strip; null where few rows take the codes

  static Panels load(const IntMatrix&, const Rows& rows, const Strip*, int n) {
    return rows.sums ? nullptr : scratch<kFormatScratch>(n * rows.tiles * kWeightPlanes<F> * kTileBytes);
  }

  static void multiply(const IntMatrix& w, const Rows& rows, Panels planes, int64_t first, int64_t count,
                       const Strip* strips, int n) {
    if (planes) return multiply_row_tiles<F>(w, rows, planes, first, first + count, strips, n);
    for (int i = 0; i < n; ++i)
      for (int64_t row = first; row < first + count; row += kLastFew)
        first + count - row == 1 ? multiply_few<F, 1>(w, rows, row, strips[i])
                                 : multiply_few<F, 2>(w, rows, row, strips[i]);
  }
};

// One type, and one set of kernels, for either number of planes of activations.
template <typename F>
using IntMatmul = FixedMatmul<Format<F::kBits, F::kCodebook, 1, typename F::Scales>>;

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

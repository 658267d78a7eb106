// The integer matmuls on the tiles of AMX, in fixed point (see int_fixed.h).
//
// A tile instruction multiplies 16 rows of 64 signed bytes with 64 x 16 and adds the products to 16 x 16 sums in 32
// bits. Every plane of activations meets every plane of weights, and products of the same weight share a tile of
// sums; up to kMostInputs inputs these cannot overflow. They leave the tiles once per 16 rows and strip, and are
// joined while the next ones are multiplied (see int_tile_amx.h).
//
// Weights become planes in one of three ways. For a few rows, not at all: int_dot_fixed.h takes their codes. For up to
// 32 rows, a tile of inputs at a time, in the first-level cache. For more, a few strips at a time, in the second, which
// meet 16 rows after 16 rows in the first.
#pragma once
#include <algorithm>

#include "cpu/amx.h"
#include "cpu/int_dot_fixed.h"
#include "cpu/int_tile_amx.h"
#include "cpu/matmul_loop.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kMostInputs = 65536;
constexpr int64_t kManyRows = 64;

// Rows for which making planes of weights does not pay, and those that are then multiplied together. Three planes take
// twice as long to make as two.
template <typename F>
constexpr int64_t kLastFew = kWeightPlanes<F> == 2 ? 4 : 8;
constexpr int kFewAtOnce = 4;

// Inputs are taken in parts of which 16 rows fit half the first-level cache: so many tiles of 64.
constexpr int64_t kMostTiles = 12;

// Adds the products of a tile of inputs, and meanwhile makes tile t of other planes.
template <typename F, int kRowTiles>
[[gnu::always_inline]] inline void multiply_and_build(const FixedRows& rows, const uint8_t* x, const uint8_t* panel,
                                                      const WeightPlanes<F>& weights, int64_t t, uint8_t* to) {
  using Weights = WeightPlanes<F>;
  static_assert(Weights::kSteps == kMeanwhile);
  typename Weights::Terms terms;
  const auto step = [&](int i) __attribute__((always_inline)) {
    weights.build_step(t, i, to, terms);
    finish_stores();
  };
  finish_stores();
  SumTiles<Weights::kPlanes, kRowTiles>::multiply(x, rows.tile_bytes(), panel, step);
}

inline Leaving leaving_rows(const IntMatrix& w, const FixedRows& rows, int64_t first, int64_t count, const Strip& s,
                            const int32_t* sums) {
  return {sums, rows.scales + first, s.y + first * s.stride, s.stride, count,
          _mm512_loadu_ps(w.units + s.block * kBlock), static_cast<__mmask16>((1u << s.lanes) - 1)};
}

// All rows there are, at most 16 * kRowTiles, times n strips. Planes of weights are made for two tiles of inputs at a
// time, in turn: those of the next tile, or of the first one of the next strip, while one is multiplied. They stay in
// the first-level cache.
template <typename F, int kRowTiles>
void multiply_passing(const IntMatrix& w, const FixedRows& rows, uint8_t* planes, const Strip* strips, int n) {
  constexpr int kPlanes = kWeightPlanes<F>;
  constexpr int64_t kStep = kPlanes * kTileBytes, kSums = (kPlanes + 1) * kRowTiles * kTileBytes;
  using Sums = SumTiles<kPlanes, kRowTiles>;
  const Tiles shape(kShapes<kRowTiles>[std::min(rows.count, kTileRows)]);
  uint8_t* sums = scratch<kSumsScratch>(n * kSums);
  const int buffers = rows.tiles > kMostTiles ? n : 2;
  uint8_t *panel = planes, *next = planes + kStep;
  Leaving leaving{};
  int64_t from = 0;
  for (int64_t parts = ceil_div(rows.tiles, kMostTiles); parts > 0; --parts) {
    const int64_t end = from + ceil_div(rows.tiles - from, parts);
    const int64_t written_at_once = ceil_div(kTileRows * kRowTiles, end - from);
    const auto weights_of = [&](int i) { return WeightPlanes<F>(w, strips[i].block, rows.scale_groups / F::kParts); };
    weights_of(0).build(from, panel);
    for (int i = 0; i < n; ++i) {
      int32_t* its_sums = reinterpret_cast<int32_t*>(sums + i % buffers * kSums);
      from == 0 ? Sums::clear() : Sums::load(its_sums);
      const WeightPlanes<F> weights = weights_of(i);
      const uint8_t* x = rows.row(0) + from * 2 * kTileBytes;
      for (int64_t t = from + 1; t < end; ++t, x += 2 * kTileBytes) {
        multiply_and_build<F, kRowTiles>(rows, x, panel, weights, t, next);
        std::swap(panel, next);
        write_rows<kPlanes, kRowTiles>(leaving, written_at_once);
      }
      multiply_and_build<F, kRowTiles>(rows, x, panel, weights_of(i + 1 < n ? i + 1 : 0), from, next);
      std::swap(panel, next);
      write_rows<kPlanes, kRowTiles>(leaving, written_at_once);
      Sums::store(its_sums);
      if (parts == 1) leaving = leaving_rows(w, rows, 0, rows.count, strips[i], its_sums);
    }
    from = end;
  }
  write_rows<kPlanes, kRowTiles>(leaving, rows.count);
}

// Rows [first, first + count), all in one tile, times n strips, with planes of weights one behind the other. The first
// rows make these, a tile ahead of what they multiply: that takes vectors while the tiles are at work. Returns what
// is left to write.
template <typename F, bool kBuilding>
Leaving multiply_planes(const IntMatrix& w, const FixedRows& rows, uint8_t* planes, int64_t first, int64_t count,
                        const Strip* strips, int n, Leaving leaving) {
  constexpr int kPlanes = kWeightPlanes<F>;
  constexpr int64_t kStep = kPlanes * kTileBytes;
  using Sums = SumTiles<kPlanes, 1>;
  int32_t* sums = reinterpret_cast<int32_t*>(scratch<kSumsScratch>(n * 4 * kTileBytes));
  int64_t from = 0;
  for (int64_t parts = ceil_div(rows.tiles, kMostTiles); parts > 0; --parts) {
    const int64_t tiles = ceil_div(rows.tiles - from, parts), written_at_once = ceil_div(kTileRows, tiles);
    for (int i = 0; i < n; ++i) {
      const WeightPlanes<F> weights(w, strips[i].block, rows.scale_groups / F::kParts);
      const uint8_t* x = rows.row(first) + from * 2 * kTileBytes;
      uint8_t* panel = planes + (i * rows.tiles + from) * kStep;
      int32_t* its_sums = sums + i * kTileBytes;
      from == 0 ? Sums::clear() : Sums::load(its_sums);
      if (kBuilding) weights.build(from, panel);
      for (int64_t t = 0; t < tiles; ++t, x += 2 * kTileBytes, panel += kStep) {
        if (kBuilding && t + 1 < tiles) weights.build(from + t + 1, panel + kStep);
        finish_stores();
        Sums::multiply(x, 0, panel, [](int) {});
        write_rows<kPlanes, 1>(leaving, written_at_once);
      }
      Sums::store(its_sums);
      if (parts == 1) leaving = leaving_rows(w, rows, first, count, strips[i], its_sums);
    }
    from += tiles;
  }
  return leaving;
}

// Some rows of many, from a tile on.
template <typename F>
void multiply_row_tiles(const IntMatrix& w, const FixedRows& rows, uint8_t* planes, int64_t first, int64_t end,
                        const Strip* strips, int n) {
  Leaving leaving{};
  while (first < end) {
    const int64_t count = std::min(kTileRows, end - first);
    const Tiles shape(kShapes<1>[count]);
    for (; first + count <= end; first += count)
      leaving = first == 0 ? multiply_planes<F, true>(w, rows, planes, first, count, strips, n, leaving)
                           : multiply_planes<F, false>(w, rows, planes, first, count, strips, n, leaving);
  }
  write_rows<kWeightPlanes<F>, 1>(leaving, kTileRows);
}

// Some rows by their codes, kRows or fewer at a time.
template <typename F, int kRows>
void multiply_any_few(const IntMatrix& w, const FixedRows& rows, int64_t first, int64_t end, const Strip& strip) {
  for (; first + kRows <= end; first += kRows) multiply_few<F, kRows>(w, rows, first, strip);
  if constexpr (kRows > 1)
    if (first < end) multiply_any_few<F, kRows - 1>(w, rows, first, end, strip);
}

// The format F of a matrix as matmul_loop.h wants it.
template <typename F>
struct FixedMatmul {
  using Matrix = IntMatrix;
  using Rows = FixedRows;

  static int64_t tiles(const IntMatrix& w) { return ceil_div(w.inputs, 64); }
  static int64_t scale_groups(const IntMatrix& w) { return ceil_div(w.inputs, kGroup) * F::kParts; }
  static int64_t bytes_per_row(const IntMatrix& w) { return tiles(w) * 128; }
  static bool few(const IntMatrix& w, int64_t rows) { return rows <= kLastFew<F> || w.inputs > kMostInputs; }

  static Rows allocate(const IntMatrix& w, int64_t rows) {
    const int64_t planes = ceil_div(rows, kTileRows) * kTileRows * bytes_per_row(w);
    const int64_t sums = few(w, rows) ? rows * scale_groups(w) * sizeof(int32_t) : 0;
    uint8_t* memory = scratch<kRowsScratch>(planes + sums + rows * sizeof(float));
    FixedRows made{memory, nullptr, nullptr, rows, tiles(w), scale_groups(w)};
    if (sums) made.sums = reinterpret_cast<int32_t*>(memory + planes);
    made.scales = reinterpret_cast<float*>(memory + planes + sums);
    return made;
  }

  static void prepare(const IntMatrix& w, const Rows& rows, int64_t r, const float* x) {
    quantise_fixed_row(rows, r, x, w.inputs, F::kParts);
  }

  static constexpr int kStrips = 8;
  static constexpr int64_t kRowsAtOnce = 2 * kTileRows;
  // Many rows are read again for each few strips, and planes that pass by need no room. In between, planes should still
  // be in the first-level cache.
  static int64_t strips_together(int64_t rows) {
    const bool passing = rows > kLastFew<F> && rows <= 2 * kTileRows;
    return passing || rows > kManyRows ? kStrips : 4;
  }
  static int64_t tasks_per_thread(int64_t rows) { return rows > kManyRows ? 3 : rows <= 64 ? 2 : 8; }
  using Panels = uint8_t*;  // a place for the planes of each strip; null where few rows take the codes

  static Panels load(const IntMatrix&, const Rows& rows, const Strip*, int n) {
    const int64_t tiles = std::max<int64_t>(n * rows.tiles, 2);  // two at least pass by
    return rows.sums ? nullptr : scratch<kFormatScratch>(tiles * kWeightPlanes<F> * kTileBytes);
  }

  static void multiply(const IntMatrix& w, const Rows& rows, Panels planes, int64_t first, int64_t count,
                       const Strip* strips, int n) {
    if (planes && rows.count <= kTileRows) return multiply_passing<F, 1>(w, rows, planes, strips, n);
    if constexpr (kWeightPlanes<F> == 2)
      if (planes && rows.count <= 2 * kTileRows) return multiply_passing<F, 2>(w, rows, planes, strips, n);
    if (planes) return multiply_row_tiles<F>(w, rows, planes, first, first + count, strips, n);
    for (int i = 0; i < n; ++i) multiply_any_few<F, kFewAtOnce>(w, rows, first, first + count, strips[i]);
  }
};

// One type, and one set of kernels, for either number of planes of activations.
template <typename F>
using IntMatmul = FixedMatmul<Format<F::kBits, F::kCodebook, 1, typename F::Scales>>;

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// The integer matmuls on the tiles of AMX: activations and weights as bfloat16, sums in float32.
//
// A tile instruction multiplies 16 rows of 32 activations with 32 x 16 weights and adds the products to 16 x 16
// sums. Activations are rounded to the nearest bfloat16 once per row. Weights become bfloat16 numbers on the way,
//   truncate(kToNearest * (scale * (code - offset) + min))    with float32 in the brackets,
// so that nothing is left to do between the groups of a row: its sums stay in a tile from the first group to the
// last. `planes` (see kernels.h) has no meaning here: for either value both factors have eight bits and a floating
// exponent, which is finer than eight bits under a common scale.
//
// The instruction treats the rows of a tile alone and in one order, so a row has the bits it has among many.
#pragma once
#include <algorithm>
#include <array>

#include "cpu/amx.h"
#include "cpu/int_quads.h"
#include "cpu/matmul_loop.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kTileBytes = 1024;  // a tile of 16 rows of 32 bfloat16
constexpr int64_t kPassRows = 32;     // rows of activations multiplied with a strip at a time: two tiles
constexpr int64_t kRing = 4;          // tiles of weights kept when they are used only once
constexpr int64_t kEarly = 1;         // tiles built ahead of the one that is multiplied, so that it need not wait

// Cutting off the lower half of a float takes half a unit in the last place off its magnitude on average: this
// puts it back. The factor makes the mean relative error zero; its mean square is 1.06 times that of rounding to
// nearest, which would take another two instructions for each pair of weights.
constexpr float kToNearest = 1.0f + 0.72135f / 256;

// Activations as tiles: of each kPassRows rows (or the fewer that are left) group by group, row by row.
struct TileRows {
  uint8_t* tiles;
  int64_t rows, groups;

  int64_t rows_of_pass(int64_t row) const { return std::min(kPassRows, rows - row); }
  uint8_t* pass(int64_t row) const { return tiles + row * groups * 64; }
};

// Whether the two codes of a byte are made weights where they are, instead of in bytes of their own.
template <typename F>
constexpr bool kNibbles = F::kBits == 4 && !F::kCodebook;

// Where the 32 activations of a group belong for their weights: word i of the result is word order[i].
template <typename F>
inline __m512i in_order_of_weights(__m512i words) {
  if constexpr (kNibbles<F>) {  // pairs of k and k + 4, as a byte has them
    alignas(64) static constexpr std::array<uint16_t, 32> kOrder = [] {
      std::array<uint16_t, 32> order{};
      for (int i = 0; i < 16; ++i) {
        order[2 * i] = static_cast<uint16_t>(i / 4 * 8 + i % 4);
        order[2 * i + 1] = static_cast<uint16_t>(order[2 * i] + 4);
      }
      return order;
    }();
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder.data()), words);
  }
  return words;
}

// code / unit + 1 of the codes that `mask` cuts out of the upper mantissa bits.
inline __m512 unit_floats(__m512i codes, int mask) {
  const __m512i one = _mm512_castps_si512(_mm512_set1_ps(1.0f));
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(codes, _mm512_set1_epi32(mask), one, 0xea));  // a & b | c
}

// Byte j of every lane to the upper eight bits of a float's mantissa.
template <int kByte>
inline __m512i byte_to_mantissa(__m512i codes) {
  if constexpr (kByte < 2) return _mm512_slli_epi32(codes, 15 - 8 * kByte);
  return _mm512_srli_epi32(codes, 8 * kByte - 15);
}

// Pairs of bfloat16 numbers: the upper halves of two floats of each lane.
inline void store_pairs(uint8_t* to, __m512 first, __m512 second) {
  const __m512i upper = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
  const __m512i pairs = _mm512_mask_shuffle_epi8(_mm512_castps_si512(second), 0x3333333333333333,
                                                 _mm512_castps_si512(first), upper);
  _mm512_store_si512(to, pairs);
}

// kToNearest * (scale * code + shift), of code / unit + 1.
struct Line {
  __m512 scale, shift;
  Line(__m512 scale_of_code, __m512 shift_of_code, float unit)
      : scale(_mm512_mul_ps(scale_of_code, _mm512_set1_ps(unit * kToNearest))),
        shift(_mm512_fmsub_ps(shift_of_code, _mm512_set1_ps(kToNearest), scale)) {}
  __m512 operator()(__m512 unit_float) const { return _mm512_fmadd_ps(scale, unit_float, shift); }
};

// The weights of one strip, turned into a tile per group.
template <typename F>
class StripWeights {
 public:
  StripWeights(const IntMatrix& w, int64_t block, int64_t groups)
      : quads_(w), cells_(w.codes + block * groups * kCellBytes<F::kBits>),
        offset_(_mm512_set1_ps(static_cast<float>(w.offset))) {
    const int64_t first = block * F::Scales::bytes(groups * F::kParts);
    scales_ = static_cast<const uint8_t*>(w.scales) + first;
    mins_ = F::kMins ? static_cast<const uint8_t*>(w.mins) + first : nullptr;
  }

  void build(int64_t group, uint8_t* tile) const {
    const uint8_t* cell = cells_ + group * kCellBytes<F::kBits>;
    prefetch(cell, kCellBytes<F::kBits>);
    for (int part = 0; part < F::kParts; ++part) {
      const int64_t at = group * F::kParts + part;
      const __m512 scale = load_scales_16(typename F::Scales{}, scales_, at);
      __m512 shift = F::kMins ? load_scales_16(typename F::Scales{}, mins_, at) : _mm512_setzero_ps();
      if constexpr (F::kCorrected) shift = _mm512_fnmadd_ps(scale, offset_, shift);
      if constexpr (kNibbles<F>)
        build_nibbles(cell, scale, shift, tile);
      else
        build_bytes(cell, scale, shift, part, tile);
    }
  }

 private:
  static void build_nibbles(const uint8_t* cell, __m512 scale, __m512 shift, uint8_t* tile) {
    const Line low(scale, shift, 256), high(scale, shift, 16);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i codes = _mm512_loadu_si512(cell + 64 * i);
      uint8_t* to = tile + 256 * i;
      const auto store_byte = [&](int j, __m512i byte) {
        store_pairs(to + 64 * j, low(unit_floats(byte, 0x78000)), high(unit_floats(byte, 0x780000)));
      };
      store_byte(0, byte_to_mantissa<0>(codes));
      store_byte(1, byte_to_mantissa<1>(codes));
      store_byte(2, byte_to_mantissa<2>(codes));
      store_byte(3, byte_to_mantissa<3>(codes));
    }
  }

  void build_bytes(const uint8_t* cell, __m512 scale, __m512 shift, int part, uint8_t* tile) const {
    const Line line(scale, shift, 256);
    const auto weights = [&](__m512i byte) { return line(unit_floats(byte, 0x7f8000)); };
    constexpr int kPartQuads = F::kScaleGroup / 4;
#pragma GCC unroll 8
    for (int quad = part * kPartQuads; quad < (part + 1) * kPartQuads; ++quad) {
      const __m512i codes = quads_(cell, quad);
      uint8_t* to = tile + 128 * quad;
      store_pairs(to, weights(byte_to_mantissa<0>(codes)), weights(byte_to_mantissa<1>(codes)));
      store_pairs(to + 64, weights(byte_to_mantissa<2>(codes)), weights(byte_to_mantissa<3>(codes)));
    }
  }

  const Quads<F> quads_;
  const uint8_t *cells_, *scales_, *mins_;
  __m512 offset_;
};

// Tile registers: the sums of row tile r and strip s are in 2 * r + s, the activations of row tile r in 4 + r, the
// weights of strip s in 6 + s.
constexpr TileConfig shape_for(int64_t rows) {
  TileConfig shape;
  const int64_t of_tile[2] = {std::min<int64_t>(rows, 16), std::max<int64_t>(rows - 16, 0)};
  for (int r = 0; r < 2; ++r)
    for (const int tile : {2 * r, 2 * r + 1, 4 + r}) {
      shape.rows[tile] = static_cast<uint8_t>(of_tile[r]);
      shape.row_bytes[tile] = of_tile[r] ? 64 : 0;
    }
  for (const int tile : {6, 7}) {
    shape.rows[tile] = 16;
    shape.row_bytes[tile] = 64;
  }
  return shape;
}

constexpr std::array<TileConfig, kPassRows + 1> kShapes = [] {
  std::array<TileConfig, kPassRows + 1> shapes{};
  for (int64_t rows = 1; rows <= kPassRows; ++rows) shapes[rows] = shape_for(rows);
  return shapes;
}();

// The compiler does not know that a tile is loaded from what it is about to store.
inline void finish_stores() { asm volatile("" ::: "memory"); }

inline void store_sums(int tile, float* y, int64_t stride) {
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(float));
  if (tile == 0) _tile_stored(0, y, bytes);
  if (tile == 1) _tile_stored(1, y, bytes);
  if (tile == 2) _tile_stored(2, y, bytes);
  if (tile == 3) _tile_stored(3, y, bytes);
}

// The sums of a tile to the rows from `row` on, of which `rows` exist.
inline void store_strip(int tile, const Strip& s, int64_t row, int64_t rows) {
  float* y = s.y + row * s.stride;
  if (s.lanes == kBlock) return store_sums(tile, y, s.stride);
  alignas(64) float all[16 * kBlock];
  store_sums(tile, all, kBlock);
  for (int64_t r = 0; r < std::min<int64_t>(rows, 16); ++r)
    std::copy(all + r * kBlock, all + r * kBlock + s.lanes, y + r * s.stride);
}

// The rows from `row` on, one or two tiles of them, times one strip. Its weights are built on the way, and stay in
// `panel` if it has a place for each group, that is if `places` is at least their number.
template <typename F, int kRowTiles>
void multiply_building(const StripWeights<F>& w, const TileRows& a, int64_t row, const Strip& s, uint8_t* panel,
                       int64_t places) {
  const int64_t rows = a.rows_of_pass(row);
  const uint8_t* from = a.pass(row);
  _tile_zero(0);
  if (kRowTiles > 1) _tile_zero(2);
  const auto tile = [&](int64_t g) { return panel + (places < a.groups ? g % kRing : g) * kTileBytes; };
  for (int64_t g = 0; g < std::min(kEarly, a.groups); ++g) w.build(g, tile(g));
  for (int64_t g = 0; g < a.groups; ++g, from += rows * 64) {
    if (g + kEarly < a.groups) w.build(g + kEarly, tile(g + kEarly));
    finish_stores();
    _tile_loadd(6, tile(g), 64);
    _tile_loadd(4, from, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (kRowTiles > 1) {
      _tile_loadd(5, from + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
  }
  store_strip(0, s, row, rows);
  if (kRowTiles > 1) store_strip(2, s, row + 16, rows - 16);
}

// The same with weights that are built, of one or two strips.
template <int kRowTiles, int kStripTiles>
void multiply_built(const TileRows& a, int64_t row, const Strip* strips, const uint8_t* panels) {
  const int64_t rows = a.rows_of_pass(row), panel_bytes = a.groups * kTileBytes;
  const uint8_t* from = a.pass(row);
  _tile_zero(0);
  _tile_zero(1);
  if (kRowTiles > 1) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t g = 0; g < a.groups; ++g, from += rows * 64) {
    const uint8_t* tile = panels + g * kTileBytes;
    _tile_loadd(4, from, 64);
    _tile_loadd(6, tile, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (kStripTiles > 1) {
      _tile_loadd(7, tile + panel_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (kRowTiles > 1) {
      _tile_loadd(5, from + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      if (kStripTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  for (int s = 0; s < kStripTiles; ++s) {
    store_strip(s, strips[s], row, rows);
    if (kRowTiles > 1) store_strip(2 + s, strips[s], row + 16, rows - 16);
  }
}

template <int kRowTiles>
void multiply_built(const TileRows& a, int64_t row, const Strip* strips, int n, const uint8_t* panels) {
  n == 2 ? multiply_built<kRowTiles, 2>(a, row, strips, panels) : multiply_built<kRowTiles, 1>(a, row, strips, panels);
}

// The format F of a matrix as matmul_loop.h wants it.
template <typename F>
struct TileMatmul {
  using Matrix = IntMatrix;
  using Rows = TileRows;

  static int64_t bytes_per_row(const IntMatrix& w) { return ceil_div(w.inputs, kGroup) * 64; }

  static Rows allocate(const IntMatrix& w, int64_t rows) {
    return {scratch<kRowsScratch>(rows * bytes_per_row(w)), rows, ceil_div(w.inputs, kGroup)};
  }

  static void prepare(const IntMatrix& w, const Rows& a, int64_t row, const float* x) {
    const int64_t first = row / kPassRows * kPassRows, stride = a.rows_of_pass(first) * 64;
    uint8_t* to = a.pass(first) + (row - first) * 64;
    for (int64_t k = 0; k < w.inputs; k += kGroup, to += stride) {
      const uint32_t mask = w.inputs - k >= kGroup ? ~0u : (1u << (w.inputs - k)) - 1;
      const __m512 lower = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x + k);
      const __m512 upper = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + k + 16);
      const __m512i words = (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
      _mm512_store_si512(to, in_order_of_weights<F>(words));
    }
  }

  static void multiply(const IntMatrix& w, const Rows& a, int64_t rows, const Strip* strips, int n) {
    const int64_t places = rows > kPassRows ? a.groups : std::min(kRing, a.groups);
    uint8_t* panels = scratch<kFormatScratch>(n * places * kTileBytes);
    int64_t row = 0;
    {
      const Tiles tiles(kShapes[std::min(rows, kPassRows)]);
      for (int i = 0; i < n; ++i) {
        const StripWeights<F> weights(w, strips[i].block, a.groups);
        const auto pass = rows > 16 ? multiply_building<F, 2> : multiply_building<F, 1>;
        pass(weights, a, 0, strips[i], panels + i * places * kTileBytes, places);
      }
      for (row = kPassRows; row + kPassRows <= rows; row += kPassRows) multiply_built<2>(a, row, strips, n, panels);
    }
    if (row >= rows) return;
    const Tiles tiles(kShapes[rows - row]);
    rows - row > 16 ? multiply_built<2>(a, row, strips, n, panels) : multiply_built<1>(a, row, strips, n, panels);
  }
};

// One type, and one set of kernels, for either number of planes.
template <typename F>
using IntMatmul = TileMatmul<Format<F::kBits, F::kCodebook, 1, typename F::Scales>>;

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

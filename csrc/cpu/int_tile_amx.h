// Sums of products of planes on the tile registers, and their way from there to the outputs.
//
// Every plane of activations meets every plane of weights, and products of the same weight share a tile of sums. With
// two planes of weights these take three tiles for 16 rows, which leaves room for 32.
#pragma once
#include <algorithm>
#include <array>

#include "cpu/amx.h"
#include "cpu/fixed_rows.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Sums are in the first tiles, activations behind them, weights in the last two, or with two row tiles in the last:
// only theirs are always full.
constexpr std::array<TileConfig, kTileRows + 1> shapes_for(int row_tiles) {
  std::array<TileConfig, kTileRows + 1> shapes{};
  for (int rows = 1; rows <= kTileRows; ++rows)
    for (int tile = 0; tile < 8; ++tile) {
      shapes[rows].rows[tile] = static_cast<uint8_t>(tile < 5 + row_tiles ? rows : 16);
      shapes[rows].row_bytes[tile] = 64;
    }
  return shapes;
}
template <int kRowTiles>
constexpr std::array<TileConfig, kTileRows + 1> kShapes = shapes_for(kRowTiles);

// The compiler does not know that a tile is loaded from what it stored, nor the reverse.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// So many times the products of 64 inputs let vectors work in between. A core looks ahead some hundred instructions,
// about as many as 64 x 16 weights take to make: in one piece these would wait for the tiles, and the tiles for them.
constexpr int kMeanwhile = 8;

// The sums of 16 * kRowTiles rows times 16 outputs. In memory: [plane][row tile][16][16].
template <int kPlanes, int kRowTiles>
struct SumTiles;

template <int kPlanes>
struct SumTiles<kPlanes, 1> {
  static void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    if constexpr (kPlanes == 3) _tile_zero(3);
  }
  static void load(const int32_t* from) {
    _tile_loadd(0, from, 64);
    _tile_loadd(1, from + 256, 64);
    _tile_loadd(2, from + 512, 64);
    if constexpr (kPlanes == 3) _tile_loadd(3, from + 768, 64);
  }
  static void store(int32_t* to) {
    _tile_stored(0, to, 64);
    _tile_stored(1, to + 256, 64);
    _tile_stored(2, to + 512, 64);
    if constexpr (kPlanes == 3) _tile_stored(3, to + 768, 64);
    finish_stores();
  }

  // Adds the products of 64 inputs, the highest first, and calls meanwhile(0) to meanwhile(7). Instructions on the same
  // sums are kept apart.
  template <typename Meanwhile>
  [[gnu::always_inline]] static void multiply(const uint8_t* x, int64_t, const uint8_t* w, const Meanwhile& meanwhile) {
    _tile_loadd(4, x, 64);
    meanwhile(0);
    _tile_loadd(6, w, 64);
    meanwhile(1);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, w + kTileBytes, 64);
    meanwhile(2);
    _tile_dpbssd(1, 4, 7);
    meanwhile(3);
    _tile_loadd(5, x + kTileBytes, 64);
    meanwhile(4);
    _tile_dpbssd(2, 5, 7);
    meanwhile(5);
    _tile_dpbssd(1, 5, 6);
    meanwhile(6);
    if constexpr (kPlanes == 3) {
      _tile_loadd(6, w + 2 * kTileBytes, 64);
      _tile_dpbssd(2, 4, 6);
    }
    meanwhile(7);
    if constexpr (kPlanes == 3) _tile_dpbssd(3, 5, 6);
  }
};

// `next`: from the activations of one row tile to those of the other, in bytes.
template <>
struct SumTiles<2, 2> {
  static void clear() {
    SumTiles<3, 1>::clear();
    _tile_zero(4);
    _tile_zero(5);
  }
  static void load(const int32_t* from) {
    SumTiles<3, 1>::load(from);
    _tile_loadd(4, from + 1024, 64);
    _tile_loadd(5, from + 1280, 64);
  }
  static void store(int32_t* to) {
    _tile_stored(4, to + 1024, 64);
    _tile_stored(5, to + 1280, 64);
    SumTiles<3, 1>::store(to);
  }

  template <typename Meanwhile>
  [[gnu::always_inline]] static void multiply(const uint8_t* x, int64_t next, const uint8_t* w,
                                              const Meanwhile& meanwhile) {
    _tile_loadd(7, w, 64);
    _tile_loadd(6, x, 64);
    meanwhile(0);
    _tile_dpbssd(0, 6, 7);
    _tile_loadd(6, x + kTileBytes, 64);
    meanwhile(1);
    _tile_dpbssd(2, 6, 7);
    _tile_loadd(6, x + next, 64);
    meanwhile(2);
    _tile_dpbssd(1, 6, 7);
    _tile_loadd(6, x + next + kTileBytes, 64);
    meanwhile(3);
    _tile_dpbssd(3, 6, 7);
    _tile_loadd(7, w + kTileBytes, 64);
    meanwhile(4);
    _tile_dpbssd(5, 6, 7);
    _tile_loadd(6, x + kTileBytes, 64);
    meanwhile(5);
    _tile_dpbssd(4, 6, 7);
    _tile_loadd(6, x, 64);
    meanwhile(6);
    _tile_dpbssd(2, 6, 7);
    _tile_loadd(6, x + next, 64);
    meanwhile(7);
    _tile_dpbssd(3, 6, 7);
  }
};

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
template <int kPlanes, int kRowTiles>
inline __m512 join_sums(const int32_t* sums) {
  __m512d low = eight(sums), high = eight(sums + 8);
#pragma GCC unroll 3
  for (int i = 1; i <= kPlanes; ++i) {
    sums += 256 * kRowTiles;
    low = _mm512_fmadd_pd(low, _mm512_set1_pd(256.0), eight(sums));
    high = _mm512_fmadd_pd(high, _mm512_set1_pd(256.0), eight(sums + 8));
  }
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

template <int kPlanes, int kRowTiles>
inline void write_rows(Leaving& l, int64_t rows) {
  for (; rows > 0 && l.rows > 0; --rows, --l.rows, l.sums += kBlock, ++l.scales, l.y += l.stride) {
    const __m512 unit = _mm512_mul_ps(l.unit, _mm512_set1_ps(*l.scales));
    _mm512_mask_storeu_ps(l.y, l.mask, _mm512_mul_ps(join_sums<kPlanes, kRowTiles>(l.sums), unit));
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

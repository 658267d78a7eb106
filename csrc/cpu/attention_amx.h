// The two products of attention in bfloat16 tiles, near float precision.
//
// A number x is split in hi + lo, each a bfloat16: exactly for float16 and int8 (whose lo is zero), to 2^-17 of x
// for queries and weights. hi * hi + hi * lo + lo * hi are summed in a float tile; lo * lo is below the rest.
// The order of a tile instruction does not depend on how many rows take part, so neither does a row's result.
#pragma once
#if REDLINE_ISA_amx
#include "amx.h"
#include "attention_tile.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kPairs = 32;             // products summed by one instruction
constexpr int64_t kTileFloats = 16 * 16;   // one tile register in memory

constexpr TileConfig whole_tiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = 16;
    config.row_bytes[i] = 64;
  }
  return config;
}
constexpr TileConfig kWholeTiles = whole_tiles();

// The bfloat16 halves of 16 pairs (a[i], b[i]), as the multiplier wants them. Round: lo is not exact.
template <bool Round>
inline void split_pairs(f32x16 a, f32x16 b, float* hi, float* lo) {
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  constexpr int kOrAnd = 0xf8;  // a | (b & c)
  __m512i ha = _mm512_add_epi32(_mm512_castps_si512(a.v), half);
  __m512i hb = _mm512_add_epi32(_mm512_castps_si512(b.v), half);
  _mm512_store_si512(hi, _mm512_ternarylogic_epi32(_mm512_srli_epi32(ha, 16), hb, upper, kOrAnd));
  ha = _mm512_castps_si512(_mm512_sub_ps(a.v, _mm512_castsi512_ps(_mm512_and_si512(ha, upper))));
  hb = _mm512_castps_si512(_mm512_sub_ps(b.v, _mm512_castsi512_ps(_mm512_and_si512(hb, upper))));
  if (Round) {
    ha = _mm512_add_epi32(ha, half);
    hb = _mm512_add_epi32(hb, half);
  }
  _mm512_store_si512(lo, _mm512_ternarylogic_epi32(_mm512_srli_epi32(ha, 16), hb, upper, kOrAnd));
}
inline void join_pairs(f32x16 a, f32x16 b, float* to) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
  _mm512_store_si512(to, _mm512_ternarylogic_epi32(low, _mm512_castps_si512(b.v), upper, 0xf8));
}

struct AmxScratch {
  Buffer queries, keys, values, weights, alone;
};

// The products of one item with tile after tile.
// A left operand is [16 rows][32], a right one [16 pairs][16 columns][2]; element i pairs with i + 16 of its 32.
template <typename T>
class AmxProducts {
 public:
  using Element = T;
  using Scratch = AmxScratch;
  static constexpr int64_t kRowBlock = 2 * kTileRows;
  static constexpr int64_t kStep = kPairs;
  static constexpr int64_t kItemRows = 192;

  AmxProducts(int64_t rows, int64_t, int64_t dim, AmxScratch& scratch)
      : tiles_(kWholeTiles), dim_(dim), padded_(round_up(dim, kWide)), groups_(round_up(dim, kPairs) / kPairs),
        columns_(padded_ / kWide), queries_(scratch.queries.need(round_up(rows, kRowBlock) * groups_ * kPairs)),
        keys_(scratch.keys.need(kStrips * groups_ * kParts * kTileFloats)),
        values_(scratch.values.need(kTile / kPairs * columns_ * kParts * kTileFloats)),
        weights_(scratch.weights.need(2 * (kTile / kPairs) * 2 * kTileFloats)), alone_(scratch.alone) {}

  void set_query(int64_t row, const float* q, float scale) {
    const f32x16 factor = splat16(scale);
    for (int64_t g = 0; g < groups_; ++g) {
      const f32x16 a = read(q, g * kPairs) * factor, b = read(q, g * kPairs + kWide) * factor;
      float* to = query_tile(row / kTileRows, g) + row % kTileRows * kWide;
      split_pairs<true>(a, b, to, to + kTileFloats);
    }
  }

  void load(const Tile<T>& tile, Range keys) {
    for (int64_t strip = keys.begin / kWide; strip * kWide < keys.end; ++strip)
      pack_keys(tile.keys[strip], tile.key_stride, keys_ + strip * groups_ * kParts * kTileFloats);
    pack_values(tile, keys);
    tile_ = &tile;
  }

  bool finite() const { return finite_; }

  void score(int64_t row, int64_t rows, Range keys, float* scores) const {
    for (int64_t strip = keys.begin / kWide; strip < keys.end / kWide; ++strip) {
      const float* right = keys_ + strip * groups_ * kParts * kTileFloats;
      float* to = scores + strip * kWide;
      if (rows > kTileRows) score_strip<2>(row / kTileRows, right, to);
      else score_strip<1>(row / kTileRows, right, to);
    }
  }

  void weigh(int64_t rows, Range keys, const float* weights, float* values) {
    const Range groups = {keys.begin / kPairs, (keys.end + kPairs - 1) / kPairs};
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t g = groups.begin; g < groups.end; ++g) {
        const float* from = weights + r * kTile + g * kPairs;
        float* to = weights_ + (r / kTileRows * (kTile / kPairs) + g) * 2 * kTileFloats + r % kTileRows * kWide;
        split_pairs<true>(load16(from), load16(from + kWide), to, to + kTileFloats);
      }
    for (int64_t c = 0; c < columns_; ++c) {
      if (rows > kTileRows) weigh_column<2>(groups, c, values + c * kWide);
      else weigh_column<1>(groups, c, values + c * kWide);
    }
  }

  // The same without touching any other key, nor rows beyond.
  void weigh_alone(int64_t rows, Range keys, const float* weights, float* values) {
    pack_values(*tile_, keys);
    float* alone = alone_.need(kRowBlock * padded_);
    std::memcpy(alone, values, rows * padded_ * sizeof(float));
    weigh(rows, keys, weights, alone);
    std::memcpy(values, alone, rows * padded_ * sizeof(float));
  }

 private:
  static constexpr int64_t kParts = kHasScales<T> ? 1 : 2;  // hi and lo; codes of 8 bits are all hi

  // Sixteen of a row's head_dim elements, zeros beyond.
  template <typename E>
  f32x16 read(const E* row, int64_t d) const {
    if (d + kWide <= dim_) return load16(row + d);
    return d < dim_ ? load16_first(row + d, dim_ - d) : splat16(0.0f);
  }

  static void put(f32x16 a, f32x16 b, float* to) {
    if constexpr (kParts == 1) join_pairs(a, b, to);
    else split_pairs<false>(a, b, to, to + kTileFloats);
  }

  float* query_tile(int64_t block, int64_t group) const {
    return queries_ + (block * groups_ + group) * 2 * kTileFloats;
  }

  void pack_keys(const T* keys, int64_t stride, float* to) const {
    for (int64_t g = 0; g < groups_; ++g, to += kParts * kTileFloats)
      for (int64_t i = 0; i < kWide; ++i) {
        const int64_t first = g * kPairs + i, second = first + kWide;
        const f32x16 a = first < dim_ ? load16(keys + first * stride) : splat16(0.0f);
        const f32x16 b = second < dim_ ? load16(keys + second * stride) : splat16(0.0f);
        put(a, b, to + i * kWide);
      }
  }

  // Keys beside those wanted count as zeros.
  void pack_values(const Tile<T>& tile, Range keys) {
    f32x16 zeros = splat16(0.0f);
    for (int64_t g = keys.begin / kPairs; g * kPairs < keys.end; ++g)
      for (int64_t i = 0; i < kWide; ++i) {
        const int64_t first = g * kPairs + i, second = first + kWide;
        const bool has_first = keys.begin <= first && first < keys.end;
        const bool has_second = keys.begin <= second && second < keys.end;
        float* to = values_ + g * columns_ * kParts * kTileFloats + i * kWide;
        for (int64_t c = 0; c < columns_; ++c, to += kParts * kTileFloats) {
          const f32x16 a = has_first ? read(tile.values[first], c * kWide) : splat16(0.0f);
          const f32x16 b = has_second ? read(tile.values[second], c * kWide) : splat16(0.0f);
          put(a, b, to);
          zeros = fma(a + b, splat16(0.0f), zeros);
        }
      }
    finite_ = sum(zeros) == 0.0f;
  }

  // Tiles: 0, 1 sums; 2, 3 right hi, lo; 4, 5 and 6, 7 left hi, lo of two blocks of rows.
  template <int Blocks>
  static void multiply(const float* left, int64_t left_stride, const float* right) {
    _tile_loadd(2, right, 64);
    _tile_loadd(4, left, 64);
    _tile_dpbf16ps(0, 4, 2);
    if (Blocks == 2) {
      _tile_loadd(6, left + left_stride, 64);
      _tile_dpbf16ps(1, 6, 2);
    }
    _tile_loadd(5, left + kTileFloats, 64);
    _tile_dpbf16ps(0, 5, 2);
    if (Blocks == 2) {
      _tile_loadd(7, left + left_stride + kTileFloats, 64);
      _tile_dpbf16ps(1, 7, 2);
    }
    if (kParts == 1) return;
    _tile_loadd(3, right + kTileFloats, 64);
    _tile_dpbf16ps(0, 4, 3);
    if (Blocks == 2) _tile_dpbf16ps(1, 6, 3);
  }

  template <int Blocks>
  void score_strip(int64_t block, const float* right, float* scores) const {
    _tile_zero(0);
    if (Blocks == 2) _tile_zero(1);
    for (int64_t g = 0; g < groups_; ++g)
      multiply<Blocks>(query_tile(block, g), groups_ * 2 * kTileFloats, right + g * kParts * kTileFloats);
    _tile_stored(0, scores, kTile * sizeof(float));
    if (Blocks == 2) _tile_stored(1, scores + kTileRows * kTile, kTile * sizeof(float));
  }

  template <int Blocks>
  void weigh_column(Range groups, int64_t column, float* values) const {
    const int64_t stride = padded_ * sizeof(float);
    _tile_loadd(0, values, stride);
    if (Blocks == 2) _tile_loadd(1, values + kTileRows * padded_, stride);
    for (int64_t g = groups.begin; g < groups.end; ++g)
      multiply<Blocks>(weights_ + g * 2 * kTileFloats, kTile / kPairs * 2 * kTileFloats,
                       values_ + (g * columns_ + column) * kParts * kTileFloats);
    _tile_stored(0, values, stride);
    if (Blocks == 2) _tile_stored(1, values + kTileRows * padded_, stride);
  }

  const Tiles tiles_;
  const int64_t dim_, padded_, groups_, columns_;
  bool finite_ = true;
  const Tile<T>* tile_ = nullptr;
  float *queries_, *keys_, *values_, *weights_;
  Buffer& alone_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline
#endif

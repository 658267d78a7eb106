// The float matmul on the tiles of AMX, for weights of 16 bits: a product of bfloat16 numbers is exact in float32.
//
// Every number is cut into a high and a low bfloat16 that add up to it. For weights that is exact: bf16 has no low
// part, f16 has 11 bits and bfloat16 twice 8, with the range of float32 (subnormal halves are normal numbers
// there). For activations it leaves 17 bits. Per 32 inputs, low * high, high * low and high * high are added to
// one tile of outputs, in that order and in the order of k; low * low is below what the activations lost.
//
// A row of a tile does not depend on the others, so one row has the bits it has among many. Rows that hold what
// high and low cannot express (infinities, NaN, numbers that round beyond the largest bfloat16) are computed
// in float32 by matmul_float_vector.h instead.
#pragma once
#include <array>

#include "cpu/amx.h"
#include "cpu/matmul_float_vector.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kStep = 32;        // inputs that one tile instruction multiplies
constexpr int64_t kTileElements = 16 * kStep;  // of a tile of bfloat16, 1 KiB
constexpr int64_t kMaxRows = 32;     // of activations held at once: two tiles

// Tile registers. Outputs of row tile r and strip s are in 2 * r + s; activations of row tile r in 4 + r; weights
// of strip s in 6 + s.
constexpr TileConfig config_for(int rows) {
  TileConfig config;
  const int of_tile[2] = {std::min(rows, 16), std::max(rows - 16, 0)};
  for (int r = 0; r < 2; ++r)
    for (const int tile : {2 * r, 2 * r + 1, 4 + r}) {
      config.rows[tile] = static_cast<uint8_t>(of_tile[r]);
      config.row_bytes[tile] = of_tile[r] ? 64 : 0;
    }
  for (const int tile : {6, 7}) {
    config.rows[tile] = 16;
    config.row_bytes[tile] = 64;
  }
  return config;
}

constexpr std::array<TileConfig, kMaxRows + 1> configs() {
  std::array<TileConfig, kMaxRows + 1> all{};
  for (int rows = 1; rows <= kMaxRows; ++rows) all[rows] = config_for(rows);
  return all;
}
constexpr std::array<TileConfig, kMaxRows + 1> kConfigs = configs();

// Activations in high and low parts: parts[row / 16][step][high, low][row % 16][k % 32]. The rows that need
// float32 are marked, and kept in `exact`.
struct SplitRows {
  uint16_t* parts;
  bool* marked;
  FloatRows exact;
  int64_t steps;

  const uint16_t* tile(int64_t row, int64_t step) const {
    return parts + (row / 16 * steps + step) * 2 * kTileElements;
  }
};

// 32 floats as bfloat16, rounded to nearest; x has them in order.
inline __m512i round_to_bf16(__m512 first, __m512 last) {
  return (__m512i)_mm512_cvtne2ps_pbh(last, first);
}
inline __m512 widen_bf16(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Returns whether high and low express all of x: 32 floats, of which `valid` exist.
inline bool split_step(const float* x, int64_t valid, uint16_t* high, uint16_t* low) {
  const uint32_t mask = valid >= kStep ? ~0u : (1u << valid) - 1;
  const __m512 first = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x);
  const __m512 last = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + 16);
  const __m512i rounded = round_to_bf16(first, last);
  const __m512 first_rest = _mm512_sub_ps(first, widen_bf16(_mm512_castsi512_si256(rounded)));
  const __m512 last_rest = _mm512_sub_ps(last, widen_bf16(_mm512_extracti64x4_epi64(rounded, 1)));
  _mm512_storeu_si512(high, rounded);
  _mm512_storeu_si512(low, round_to_bf16(first_rest, last_rest));
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  return !_mm512_cmpeq_epi16_mask(_mm512_and_si512(rounded, exponent), exponent);
}

// The weights of one step as tiles of pairs: row i has inputs 2 * i and 2 * i + 1 of each of 16 outputs.
template <typename T>
struct SplitWeights;

template <>
struct SplitWeights<f16> {
  static constexpr int kParts = 2;  // low, high
  static void split(const f16* from, uint16_t* to) {
    const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000));
#pragma GCC unroll 4
    for (int i = 0; i < 16; ++i) {
      const __m512i even = _mm512_castps_si512(load_lanes(from + 2 * i * kBlock));
      const __m512i odd = _mm512_castps_si512(load_lanes(from + (2 * i + 1) * kBlock));
      const __m512i even_low = rest(even, high_half), odd_low = rest(odd, high_half);
      _mm512_storeu_si512(to + i * kStep, _mm512_or_si512(_mm512_srli_epi32(even_low, 16), odd_low));
      _mm512_storeu_si512(to + kTileElements + i * kStep,
                          _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, 16), odd));
    }
  }
  // What cutting off the lower half of a float leaves: three bits.
  static __m512i rest(__m512i value, __m512i high_half) {
    const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(value, high_half));
    return _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(value), high));
  }
};

template <>
struct SplitWeights<bf16> {
  static constexpr int kParts = 1;
  static void split(const bf16* from, uint16_t* to) {
    alignas(64) static constexpr std::array<uint16_t, 32> kPairs = [] {
      std::array<uint16_t, 32> order{};
      for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
      return order;
    }();
    const __m512i order = _mm512_load_si512(kPairs.data());
#pragma GCC unroll 4
    for (int i = 0; i < 16; ++i)
      _mm512_storeu_si512(to + i * kStep, _mm512_permutexvar_epi16(order, _mm512_loadu_si512(from + i * kStep)));
  }
};

// One or two strips and their weights split, a step at a time as the first rows need them.
template <typename T>
class SplitPanels {
 public:
  static constexpr int kParts = SplitWeights<T>::kParts;

  // Keeps all steps, or the last few when the weights are used but once.
  SplitPanels(const FloatMatrix& w, const Strip* strips, int n, bool keep)
      : inputs_(w.inputs), strips_(n), mask_(keep ? ~int64_t{0} : 3) {
    const int64_t kept = keep ? ceil_div(inputs_, kStep) : 4;
    const int64_t elements = kept * NoPanels::kStrips * kParts * kTileElements;
    tiles_ = reinterpret_cast<uint16_t*>(scratch<kFormatScratch>(elements * 2));
    for (int i = 0; i < n; ++i) panels_[i] = panel_of<T>(w, strips[i]);
  }

  const uint16_t* tile(int64_t step, int strip, int part) const {
    return tiles_ + (((step & mask_) * NoPanels::kStrips + strip) * kParts + part) * kTileElements;
  }

  void split(int64_t step) {
    for (int i = 0; i < strips_; ++i) {
      const T* from = panels_[i] + step * kStep * kBlock;
      const int64_t left = inputs_ - step * kStep;
      T padded[kTileElements];
      if (left < kStep) {
        std::memset(padded, 0, sizeof padded);
        std::memcpy(padded, from, left * kBlock * sizeof(T));
        from = padded;
      } else {
        prefetch(from, kTileElements * sizeof(T));
      }
      SplitWeights<T>::split(from, const_cast<uint16_t*>(tile(step, i, 0)));
    }
  }

 private:
  const T* panels_[NoPanels::kStrips];
  uint16_t* tiles_;
  int64_t inputs_;
  int strips_;
  int64_t mask_;
};

template <int kRowTiles, int kN>
struct TileBlock {
  static void zero() {
    _tile_zero(0);
    if (kN > 1) _tile_zero(1);
    if (kRowTiles > 1) _tile_zero(2);
    if (kRowTiles > 1 && kN > 1) _tile_zero(3);
  }
  static void load_rows(const uint16_t* first, const uint16_t* second) {
    _tile_loadd(4, first, 64);
    if (kRowTiles > 1) _tile_loadd(5, second, 64);
  }
  static void load_weights(const uint16_t* first, const uint16_t* second) {
    _tile_loadd(6, first, 64);
    if (kN > 1) _tile_loadd(7, second, 64);
  }
  static void multiply() {
    _tile_dpbf16ps(0, 4, 6);
    if (kN > 1) _tile_dpbf16ps(1, 4, 7);
    if (kRowTiles > 1) _tile_dpbf16ps(2, 5, 6);
    if (kRowTiles > 1 && kN > 1) _tile_dpbf16ps(3, 5, 7);
  }
};

inline void store_tile(int tile, float* y, int64_t stride) {
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(float));
  if (tile == 0) _tile_stored(0, y, bytes);
  if (tile == 1) _tile_stored(1, y, bytes);
  if (tile == 2) _tile_stored(2, y, bytes);
  if (tile == 3) _tile_stored(3, y, bytes);
}

// Tile of 16 outputs of the rows from `row` on.
inline void store_outputs(int tile, const Strip& s, int64_t row, int64_t rows) {
  float* y = s.y + row * s.stride;
  if (s.lanes == kBlock) return store_tile(tile, y, s.stride);
  alignas(64) float all[16 * kBlock];
  store_tile(tile, all, kBlock);
  for (int64_t r = 0; r < rows; ++r) std::copy(all + r * kBlock, all + r * kBlock + s.lanes, y + r * s.stride);
}

// The rows row .. row + rows - 1, at most kMaxRows, of all strips. The first to call it splits the weights.
template <typename T, int kRowTiles, int kN>
void multiply_block(const SplitRows& x, SplitPanels<T>& w, const Strip* strips, int64_t row, int64_t rows) {
  using Block = TileBlock<kRowTiles, kN>;
  constexpr int kHigh = SplitPanels<T>::kParts - 1;
  const bool first = row == 0;
  Block::zero();
  if (first) w.split(0);
  for (int64_t step = 0; step < x.steps; ++step) {
    if (first && step + 1 < x.steps) w.split(step + 1);  // early, so that it is in the cache when tiles load it
    const uint16_t *high = x.tile(row, step), *second_high = x.tile(row + 16, step);
    Block::load_rows(high + kTileElements, second_high + kTileElements);
    Block::load_weights(w.tile(step, 0, kHigh), w.tile(step, 1, kHigh));
    Block::multiply();
    Block::load_rows(high, second_high);
    Block::multiply();
    if constexpr (kHigh > 0) {
      Block::load_weights(w.tile(step, 0, 0), w.tile(step, 1, 0));
      Block::multiply();
    }
  }
  for (int r = 0; r < kRowTiles; ++r)
    for (int s = 0; s < kN; ++s)
      store_outputs(2 * r + s, strips[s], row + 16 * r, std::min<int64_t>(16, rows - 16 * r));
}

// The format of matmul_loop.h for f16 and bf16.
template <typename T>
struct TileMatmul : NoPanels {
  using Matrix = FloatMatrix;
  using Rows = SplitRows;

  // Machines with tiles have second-level caches of 2 MiB, four times what matmul_loop.h counts on: so half.
  static int64_t bytes_per_row(const FloatMatrix& w) { return w.inputs * 2; }

  static Rows allocate(const FloatMatrix& w, int64_t rows) {
    const int64_t steps = ceil_div(w.inputs, kStep), tiles = ceil_div(rows, 16) * steps * 2;
    const int64_t part_bytes = tiles * kTileElements * 2, exact_bytes = rows * w.inputs * 4;
    uint8_t* memory = scratch<kRowsScratch>(part_bytes + exact_bytes + rows);
    return {reinterpret_cast<uint16_t*>(memory), reinterpret_cast<bool*>(memory + part_bytes + exact_bytes),
            {reinterpret_cast<float*>(memory + part_bytes), w.inputs}, steps};
  }

  static void prepare(const FloatMatrix& w, const Rows& rows, int64_t r, const float* x) {
    bool expressed = true;
    for (int64_t step = 0; step < rows.steps; ++step) {
      uint16_t* high = const_cast<uint16_t*>(rows.tile(r, step)) + r % 16 * kStep;
      const int64_t k = step * kStep;
      expressed &= split_step(x + k, w.inputs - k, high, high + kTileElements);
    }
    rows.marked[r] = !expressed;
    if (!expressed) std::memcpy(rows.exact.values + r * w.inputs, x, w.inputs * 4);
  }

  static void multiply(const FloatMatrix& w, const Rows& rows, Panels, int64_t, int64_t count, const Strip* strips,
                       int n) {
    n == 1 ? multiply_blocks<1>(w, rows, count, strips) : multiply_blocks<2>(w, rows, count, strips);
    const T* panels[kStrips];
    for (int i = 0; i < n; ++i) panels[i] = panel_of<T>(w, strips[i]);
    for (int64_t r = 0; r < count; ++r)
      if (rows.marked[r]) multiply_tiles<1>(rows.exact, r, w.inputs, panels, strips, n);
  }

 private:
  template <int kN>
  static void multiply_blocks(const FloatMatrix& w, const Rows& x, int64_t count, const Strip* strips) {
    SplitPanels<T> panels(w, strips, kN, count > kMaxRows);
    int64_t row = 0;
    if (count >= kMaxRows) {
      const Tiles tiles(kConfigs[kMaxRows]);
      for (; row + kMaxRows <= count; row += kMaxRows) multiply_block<T, 2, kN>(x, panels, strips, row, kMaxRows);
    }
    const int64_t left = count - row;
    if (left == 0) return;
    const Tiles tiles(kConfigs[left]);
    left > 16 ? multiply_block<T, 2, kN>(x, panels, strips, row, left)
              : multiply_block<T, 1, kN>(x, panels, strips, row, left);
  }
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

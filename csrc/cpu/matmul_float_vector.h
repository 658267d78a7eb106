// The float matmul on vectors: 16 outputs of a panel side by side, widened to float32, multiplied and added.
//
// Each output is one chain of fused multiply-adds in the order of k, on one row or many, whatever the width of
// a vector; so AVX2 and AVX-512 give the same bits.
#pragma once
#include <algorithm>
#include <type_traits>

#include "cpu/matmul_loop.h"
#include "cpu/numbers.h"
#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// y[kRows rows, 16 outputs of each panel]; only `lanes` of them exist.
template <typename T>
struct Tile {
  const float* x;
  int64_t x_stride, inputs;
  const T* panels[NoPanels::kStrips];
  float* y[NoPanels::kStrips];
  int64_t y_stride, lanes[NoPanels::kStrips];
};

#if REDLINE_ISA_avx512
constexpr int kTileRows = 12;
// Panels per tile of so many rows: as many chains as registers hold, to hide how long a multiply-add takes.
constexpr int panels_per_tile(int) { return 2; }

inline __m512 load_lanes(const float* p) { return _mm512_loadu_ps(p); }
inline __m512 load_lanes(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512 load_lanes(const bf16* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

template <int kRows, int kPanels, typename T>
void multiply(const Tile<T>& t) {
  __m512 acc[kPanels][kRows];
  for (int p = 0; p < kPanels; ++p)
    for (int r = 0; r < kRows; ++r) acc[p][r] = _mm512_setzero_ps();
  for (int64_t k = 0; k < t.inputs; ++k) {
    __m512 weights[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      const T* from = t.panels[p] + k * kBlock;
      weights[p] = load_lanes(from);
      if (kRows <= kFewRows) __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512 value = _mm512_set1_ps(t.x[r * t.x_stride + k]);
      for (int p = 0; p < kPanels; ++p) acc[p][r] = _mm512_fmadd_ps(weights[p], value, acc[p][r]);
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const __mmask16 mask = static_cast<__mmask16>((1u << t.lanes[p]) - 1);
    for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(t.y[p] + r * t.y_stride, mask, acc[p][r]);
  }
}
inline void widen_lanes(const f16* from, float* to) { _mm512_storeu_ps(to, load_lanes(from)); }
inline void widen_lanes(const bf16* from, float* to) { _mm512_storeu_ps(to, load_lanes(from)); }
#elif REDLINE_ISA_avx2
constexpr int kTileRows = 6;
constexpr int panels_per_tile(int rows) { return rows <= 3 ? 2 : 1; }

inline __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load_eight(const f16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 load_eight(const bf16* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

template <int kRows, int kPanels, typename T>
void multiply(const Tile<T>& t) {
  constexpr int kVectors = 2 * kPanels;  // panel p has vectors 2 * p and 2 * p + 1
  __m256 acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = _mm256_setzero_ps();
  // A pointer for each row, and several k at a time: address arithmetic would take turns with the multipliers.
  const float* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = t.x + r * t.x_stride;
#pragma GCC unroll 4
  for (int64_t k = 0; k < t.inputs; ++k) {
    __m256 weights[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const T* from = t.panels[v / 2] + k * kBlock + v % 2 * 8;
      weights[v] = load_eight(from);
      if (kRows <= kFewRows && v % 2 == 0) __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(rows[r] + k);
      for (int v = 0; v < kVectors; ++v) acc[v][r] = _mm256_fmadd_ps(weights[v], value, acc[v][r]);
    }
  }
  for (int p = 0; p < kPanels; ++p)
    for (int r = 0; r < kRows; ++r) {
      alignas(32) float all[kBlock];
      float* y = t.y[p] + r * t.y_stride;
      float* to = t.lanes[p] == kBlock ? y : all;
      _mm256_storeu_ps(to, acc[2 * p][r]);
      _mm256_storeu_ps(to + 8, acc[2 * p + 1][r]);
      if (to == all) std::copy(all, all + t.lanes[p], y);
    }
}

template <typename T>
void widen_lanes(const T* from, float* to) {
  _mm256_storeu_ps(to, load_eight(from));
  _mm256_storeu_ps(to + 8, load_eight(from + 8));
}
#else
constexpr int kTileRows = 1;
constexpr int panels_per_tile(int) { return 1; }

template <int kRows, int kPanels, typename T>
void multiply(const Tile<T>& t) {
  float acc[kBlock] = {};
  for (int64_t k = 0; k < t.inputs; ++k)
    for (int64_t lane = 0; lane < kBlock; ++lane)
      acc[lane] = fma(widen(t.panels[0][k * kBlock + lane]), t.x[k], acc[lane]);
  std::copy(acc, acc + t.lanes[0], t.y[0]);
}

template <typename T>
void widen_lanes(const T* from, float* to) {
  for (int64_t lane = 0; lane < kBlock; ++lane) to[lane] = widen(from[lane]);
}
#endif

// Rows of floats, far enough apart that those of a tile do not compete for one set of a cache.
struct FloatRows {
  float* values;
  int64_t stride;
};

template <typename T>
const T* panel_of(const FloatMatrix& w, const Strip& strip) {
  return static_cast<const T*>(w.data) + strip.block * w.inputs * kBlock;
}

// A tile of kRows rows, from `row` on, for each few of n panels.
template <int kRows, typename T>
void multiply_tiles(const FloatRows& x, int64_t row, int64_t inputs, const T* const* panels, const Strip* strips,
                    int n) {
  constexpr int kPanels = panels_per_tile(kRows);
  for (int i = 0; i < n; i += kPanels) {
    Tile<T> t = {x.values + row * x.stride, x.stride, inputs, {}, {}, strips[i].stride, {}};
    const int some = std::min(kPanels, n - i);
    for (int p = 0; p < some; ++p) {
      t.panels[p] = panels[i + p];
      t.y[p] = strips[i + p].y + row * strips[i + p].stride;
      t.lanes[p] = strips[i + p].lanes;
    }
    some == kPanels ? multiply<kRows, kPanels>(t) : multiply<kRows, 1>(t);
  }
}

// The same for a number of rows known at run time only, at most kRows.
template <int kRows, typename T>
void multiply_some(int64_t rows, const FloatRows& x, int64_t row, int64_t inputs, const T* const* panels,
                   const Strip* strips, int n) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply_tiles<kRows>(x, row, inputs, panels, strips, n);
    multiply_some<kRows - 1>(rows, x, row, inputs, panels, strips, n);
  }
}

// All rows, cut into tiles of about the same number of rows.
template <typename T>
void multiply_rows(const FloatRows& x, int64_t count, int64_t inputs, const T* const* panels, const Strip* strips,
                   int n) {
  int64_t row = 0;
  for (int64_t tiles = ceil_div(count, kTileRows); tiles > 0; --tiles) {
    const int64_t rows = ceil_div(count - row, tiles);
    multiply_some<kTileRows>(rows, x, row, inputs, panels, strips, n);
    row += rows;
  }
}

// The format of matmul_loop.h for weights of type T.
template <typename T>
struct VectorMatmul : NoPanels {
  using Matrix = FloatMatrix;
  using Rows = FloatRows;

  static int64_t bytes_per_row(const FloatMatrix& w) { return w.inputs * 4; }
  static Rows allocate(const FloatMatrix& w, int64_t rows) {
    const int64_t stride = w.inputs + 16;
    return {reinterpret_cast<float*>(scratch<kRowsScratch>(rows * stride * 4)), stride};
  }
  // The copy costs what one output in a hundred does, and brings the rows to where the cache likes them.
  static void prepare(const FloatMatrix& w, const Rows& rows, int64_t r, const float* x) {
    std::memcpy(rows.values + r * rows.stride, x, w.inputs * 4);
  }

  static void multiply(const FloatMatrix& w, const Rows& rows, Panels, int64_t, int64_t count, const Strip* strips,
                       int n) {
    const T* panels[kStrips];
    for (int i = 0; i < n; ++i) panels[i] = panel_of<T>(w, strips[i]);
    if (std::is_same_v<T, float> || count <= 2 * kTileRows) {
      multiply_rows(rows, count, w.inputs, panels, strips, n);
    } else {  // widening once pays when three tiles or more read the panels
      const float* widened[kStrips];
      for (int i = 0; i < n; ++i) widened[i] = widen_panel(panels[i], i, w.inputs);
      multiply_rows(rows, count, w.inputs, widened, strips, n);
    }
  }

 private:
  static const float* widen_panel(const T* panel, int i, int64_t inputs) {
    float* to = reinterpret_cast<float*>(scratch<kFormatScratch>(kStrips * inputs * kBlock * 4)) + i * inputs * kBlock;
    if constexpr (!std::is_same_v<T, float>)
      for (int64_t k = 0; k < inputs; ++k) widen_lanes(panel + k * kBlock, to + k * kBlock);
    return to;
  }
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

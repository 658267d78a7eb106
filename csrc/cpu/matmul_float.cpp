#include <algorithm>

#include "cpu/declare.h"
#include "cpu/matmul_loop.h"
#include "cpu/numbers.h"
#include "simd.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// y[kRows rows, 16 outputs of a panel]; only `lanes` of them exist. Each output is one chain of
// multiply-adds in the order of k, on one row or many, whatever the width of a vector.
template <typename T>
struct Tile {
  const float* x;
  int64_t x_stride;
  const T* panel;
  int64_t inputs;
  float* y;
  int64_t y_stride, lanes;
};

#if REDLINE_ISA_avx512
constexpr int kTileRows = 12;

inline __m512 load_lanes(const float* p) { return _mm512_loadu_ps(p); }
inline __m512 load_lanes(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512 load_lanes(const bf16* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

template <int kRows, typename T>
void multiply(const Tile<T>& t) {
  __m512 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_setzero_ps();
  for (int64_t k = 0; k < t.inputs; ++k) {
    const __m512 weights = load_lanes(t.panel + k * kBlock);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r)
      acc[r] = _mm512_fmadd_ps(weights, _mm512_set1_ps(t.x[r * t.x_stride + k]), acc[r]);
  }
  const __mmask16 mask = static_cast<__mmask16>((1u << t.lanes) - 1);
  for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(t.y + r * t.y_stride, mask, acc[r]);
}
#elif REDLINE_ISA_avx2
constexpr int kTileRows = 6;

inline __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load_eight(const f16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 load_eight(const bf16* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

template <int kRows, typename T>
void multiply(const Tile<T>& t) {
  __m256 first[kRows], last[kRows];
  for (int r = 0; r < kRows; ++r) first[r] = last[r] = _mm256_setzero_ps();
  for (int64_t k = 0; k < t.inputs; ++k) {
    const __m256 weights = load_eight(t.panel + k * kBlock), others = load_eight(t.panel + k * kBlock + 8);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(t.x + r * t.x_stride + k);
      first[r] = _mm256_fmadd_ps(weights, value, first[r]);
      last[r] = _mm256_fmadd_ps(others, value, last[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    alignas(32) float all[kBlock];
    float* to = t.lanes == kBlock ? t.y + r * t.y_stride : all;
    _mm256_storeu_ps(to, first[r]);
    _mm256_storeu_ps(to + 8, last[r]);
    if (to == all) std::copy(all, all + t.lanes, t.y + r * t.y_stride);
  }
}
#else
constexpr int kTileRows = 1;

template <int kRows, typename T>
void multiply(const Tile<T>& t) {
  float acc[kBlock] = {};
  for (int64_t k = 0; k < t.inputs; ++k)
    for (int64_t lane = 0; lane < kBlock; ++lane)
      acc[lane] = fma(widen(t.panel[k * kBlock + lane]), t.x[k], acc[lane]);
  std::copy(acc, acc + t.lanes, t.y);
}
#endif

// The rows that do not fill a tile.
template <int kRows, typename T>
void multiply_last(int64_t rows, const Tile<T>& t) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return multiply<kRows>(t);
    multiply_last<kRows - 1>(rows, t);
  }
}

template <typename T>
struct FloatMatmul {
  using Matrix = FloatMatrix;
  struct Rows {
    float* values;
  };

  static int64_t bytes_per_row(const FloatMatrix& w) { return w.inputs * 4; }
  static Rows allocate(const FloatMatrix& w, int64_t rows) {
    return {reinterpret_cast<float*>(scratch<kRowsScratch>(rows * w.inputs * 4))};
  }
  static void prepare(const FloatMatrix& w, const Rows& rows, int64_t r, const float* x) {
    std::memcpy(rows.values + r * w.inputs, x, w.inputs * 4);
  }

  static void multiply(const FloatMatrix& w, const Rows& rows, int64_t count, const Strip* strips, int n) {
    for (int i = 0; i < n; ++i) {
      const Strip& s = strips[i];
      const T* panel = static_cast<const T*>(w.data) + s.block * w.inputs * kBlock;
      const auto tile = [&](int64_t row) {
        return Tile<T>{rows.values + row * w.inputs, w.inputs, panel, w.inputs, s.y + row * s.stride, s.stride,
                       s.lanes};
      };
      int64_t row = 0;
      for (; row + kTileRows <= count; row += kTileRows) redline::REDLINE_ISA::multiply<kTileRows>(tile(row));
      multiply_last<kTileRows - 1>(count - row, tile(row));
    }
  }
};

template <typename T>
bool embedding(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= w.outputs) return false;
  parallel_for(count, 1 + 16384 / w.inputs, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* lane = static_cast<const T*>(w.data) + ids[i] / kBlock * w.inputs * kBlock + ids[i] % kBlock;
      for (int64_t k = 0; k < w.inputs; ++k) y[i * w.inputs + k] = widen(lane[k * kBlock]);
    }
  });
  return true;
}

template <typename T>
void pack(const uint8_t* rows, int64_t outputs, int64_t inputs, int64_t first, uint8_t* panels) {
  const T* from = reinterpret_cast<const T*>(rows);
  T* to = reinterpret_cast<T*>(panels);
  parallel_for(outputs, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* lane = to + (first + row) / kBlock * inputs * kBlock + (first + row) % kBlock;
      for (int64_t k = 0; k < inputs; ++k) std::memcpy(lane + k * kBlock, from + row * inputs + k, sizeof(T));
    }
  });
}

}  // namespace

void matmul_float(const MatmulInput& x, const FloatMatrix& w, const MatmulOutput& y) {
  if (w.type == FloatType::f32) return matmul<FloatMatmul<float>>(x, w, y);
  if (w.type == FloatType::f16) return matmul<FloatMatmul<f16>>(x, w, y);
  matmul<FloatMatmul<bf16>>(x, w, y);
}

bool embedding_float(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y) {
  if (w.type == FloatType::f32) return embedding<float>(ids, count, w, y);
  if (w.type == FloatType::f16) return embedding<f16>(ids, count, w, y);
  return embedding<bf16>(ids, count, w, y);
}

void pack_float(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                uint8_t* panels) {
  if (size == 4) return pack<uint32_t>(rows, outputs, inputs, first, panels);
  pack<uint16_t>(rows, outputs, inputs, first, panels);
}

}  // namespace REDLINE_ISA
}  // namespace redline

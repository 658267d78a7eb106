// The tile with AVX2. With activations of 8 bits vpmaddubsw multiplies four unsigned codes of each of 8 outputs by
// four activations and adds neighbours into 16 bits, where there is room to add up kRoom products of codes.
// Codes of 8 bits are taken as two of 4, which keeps them exact. With activations of 16 bits vpmaddwd takes codes
// widened to 16 bits and adds into 32.
#pragma once
#include <immintrin.h>

#include "cpu/int_quads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int kTileRows = 4;

// Quads whose products fit 16 bits together: (2^bits - 1) * 128 * 2 * room < 2^15.
template <int kCodeBits>
constexpr int kRoom = kCodeBits <= 4 ? 8 : kCodeBits == 5 ? 4 : 2;

inline __m256i broadcast_quad(const int8_t* p) {
  int32_t quad;
  std::memcpy(&quad, p, sizeof quad);
  return _mm256_set1_epi32(quad);
}

inline void store_lanes(float* y, __m256 value, int64_t lanes) {
  if (lanes >= 8) return _mm256_storeu_ps(y, value);
  alignas(32) float all[8];
  _mm256_store_ps(all, value);
  for (int64_t lane = 0; lane < lanes; ++lane) y[lane] = all[lane];
}

// Left to itself the compiler turns chains of sums into trees that do not fit the registers.
inline void keep_order(__m256i& sum) { asm("" : "+x"(sum)); }

inline void add_products(__m256i& sum, __m256i codes, __m256i activations) {
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, activations));
  keep_order(sum);
}
inline void add_products_16(__m256i& sum, __m256i codes, __m256i activations) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, activations));
  keep_order(sum);
}

template <int kRows, int kHalves>
inline void clear(__m256i (&sums)[kHalves][kRows]) {
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r) sums[h][r] = _mm256_setzero_si256();
}

// Exact sums over kCount quads from kFirst on: sums[h][r] of 8 outputs in 32 bits.
template <typename F, int kFirst, int kCount, int kRows, int kHalves>
inline void sum_quads(const Quads<F>& quads, const uint8_t* cell, const int8_t* x, int64_t x_stride,
                      __m256i (&sums)[kHalves][kRows]) {
  const __m256i ones = _mm256_set1_epi16(1);
  constexpr int kRun = kRoom<F::kBits> < kCount ? kRoom<F::kBits> : kCount;
#pragma GCC unroll 4
  for (int first = kFirst; first < kFirst + kCount; first += kRun) {
    __m256i run[kHalves][kRows];
    clear(run);
#pragma GCC unroll 8
    for (int quad = first; quad < first + kRun; ++quad)
      for (int h = 0; h < kHalves; ++h) {
        const __m256i codes = quads(cell + 32 * h, quad);
        for (int r = 0; r < kRows; ++r)
          add_products(run[h][r], codes, broadcast_quad(x + r * x_stride + 4 * quad));
      }
    for (int h = 0; h < kHalves; ++h)
      for (int r = 0; r < kRows; ++r) {
        const __m256i widened = _mm256_madd_epi16(run[h][r], ones);
        sums[h][r] = first == kFirst ? widened : _mm256_add_epi32(sums[h][r], widened);
      }
  }
}

// The same for codes of 8 bits.
template <typename F, int kFirst, int kCount, int kRows, int kHalves>
inline void sum_split_quads(const Quads<F>& quads, const uint8_t* cell, const int8_t* x, int64_t x_stride,
                            __m256i (&sums)[kHalves][kRows]) {
  const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), sixteens = _mm256_set1_epi16(16);
  __m256i low[kHalves][kRows], high[kHalves][kRows];
  clear(low);
  clear(high);
#pragma GCC unroll 8
  for (int quad = kFirst; quad < kFirst + kCount; ++quad)
    for (int h = 0; h < kHalves; ++h) {
      const __m256i codes = quads(cell + 32 * h, quad);
      const __m256i lower = _mm256_and_si256(codes, nibble);
      const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
      for (int r = 0; r < kRows; ++r) {
        const __m256i activations = broadcast_quad(x + r * x_stride + 4 * quad);
        add_products(low[h][r], lower, activations);
        add_products(high[h][r], upper, activations);
      }
    }
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r)
      sums[h][r] =
          _mm256_add_epi32(_mm256_madd_epi16(low[h][r], ones), _mm256_madd_epi16(high[h][r], sixteens));
}

// The same for activations of 16 bits, as pair_planes() left them.
template <typename F, int kFirst, int kCount, int kRows, int kHalves>
inline void sum_wide_quads(const Quads<F>& quads, const uint8_t* cell, const int8_t* x, int64_t x_stride,
                           __m256i (&sums)[kHalves][kRows]) {
  const __m256i byte = _mm256_set1_epi16(255);
  clear(sums);
#pragma GCC unroll 8
  for (int quad = kFirst; quad < kFirst + kCount; ++quad)
    for (int h = 0; h < kHalves; ++h) {
      const __m256i codes = quads(cell + 32 * h, quad);
      const __m256i even = _mm256_and_si256(codes, byte), odd = _mm256_srli_epi16(codes, 8);
      for (int r = 0; r < kRows; ++r) {
        const int8_t* pairs = x + r * x_stride + 8 * quad;
        add_products_16(sums[h][r], even, broadcast_quad(pairs));
        add_products_16(sums[h][r], odd, broadcast_quad(pairs + 4));
      }
    }
}

// Scale group kPart of cell g of all rows and of kHalves halves (8 outputs each) of the block, from half `first` on.
template <typename F, int kPart, int kRows, int kHalves>
inline void multiply_part(const TileData<F>& d, const Quads<F>& quads, int first, int64_t g,
                          __m256 (&acc)[kHalves][kRows]) {
  constexpr int kCount = kQuads / F::kParts, kFirst = kPart * kCount;
  const int64_t s = g * F::kParts + kPart;
  const uint8_t* cell = d.cells + g * kCellBytes<F::kBits> + 32 * first;
  const int8_t* x = d.x + g * kGroup * F::kPlanes;
  __m256i sums[kHalves][kRows];
  if constexpr (F::kPlanes == 2)
    sum_wide_quads<F, kFirst, kCount>(quads, cell, x, d.x_stride, sums);
  else if constexpr (F::kCodeBits == 8)
    sum_split_quads<F, kFirst, kCount>(quads, cell, x, d.x_stride, sums);
  else
    sum_quads<F, kFirst, kCount>(quads, cell, x, d.x_stride, sums);
  for (int h = 0; h < kHalves; ++h) {
    const __m256 scale = load_scales_8(typename F::Scales(), d.scales, s, 8 * (first + h));
    const __m256 min = F::kMins ? load_scales_8(typename F::Scales(), d.mins, s, 8 * (first + h)) : scale;
    for (int r = 0; r < kRows; ++r) {
      __m256i sum = sums[h][r];
      if (F::kCorrected) sum = _mm256_add_epi32(sum, _mm256_set1_epi32(d.corrections[r * d.scale_groups + s]));
      const __m256 product = _mm256_mul_ps(scale, _mm256_broadcast_ss(d.x_scales + r * d.groups + g));
      acc[h][r] = _mm256_fmadd_ps(product, _mm256_cvtepi32_ps(sum), acc[h][r]);
      if (F::kMins)
        acc[h][r] = _mm256_fmadd_ps(min, _mm256_broadcast_ss(d.x_sums + r * d.scale_groups + s), acc[h][r]);
    }
  }
}

template <typename F, int kRows, int kHalves>
void multiply_halves(const Tile& t, int first) {
  const TileData<F> d(t);
  const Quads<F> quads(t.w);
  __m256 acc[kHalves][kRows];
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r) acc[h][r] = _mm256_setzero_ps();
  for (int64_t g = 0; g < d.groups; ++g) {
    if (kRows <= kFewRows && first == 0) prefetch(d.cells + g * kCellBytes<F::kBits>, kCellBytes<F::kBits>);
    multiply_part<F, 0, kRows, kHalves>(d, quads, first, g, acc);
    if constexpr (F::kParts == 2) multiply_part<F, 1, kRows, kHalves>(d, quads, first, g, acc);
  }
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r)
      store_lanes(t.y + r * t.y_stride + 8 * (first + h), acc[h][r], t.lanes - 8 * (first + h));
}

template <typename F, int kRows>
void multiply(const Tile& t) {
  // Few rows leave registers for the whole block, which is then read in one go; more need them all.
  if constexpr (kRows <= 2) {
    multiply_halves<F, kRows, 2>(t, 0);
  } else {
    multiply_halves<F, kRows, 1>(t, 0);
    multiply_halves<F, kRows, 1>(t, 1);
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

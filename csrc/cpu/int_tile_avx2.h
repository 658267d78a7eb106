// The tile with AVX2. vpmaddubsw multiplies four unsigned codes of each of 8 outputs by four activations
// and adds neighbours into 16 bits; codes up to 15 leave room to sum a whole group there, since
// 15 * 127 * 2 * 8 < 2^15. Codes of 8 bits are taken as two of 4, which keeps them exact.
#pragma once
#include <immintrin.h>

#include "cpu/int_format.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int kTileRows = 4;

inline __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load_eight(const f16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_codes(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

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

inline void add_products(__m256i& sum, __m256i codes, __m256i activations) {
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, activations));
  // Left to itself the compiler turns the chain into a tree that does not fit the registers.
  asm("" : "+x"(sum));
}

// Exact sums over one scale group: sums[h][r] of 8 outputs in 32 bits.
template <typename F, int kRows, int kHalves>
inline void sum_group(const uint8_t* cell, const int8_t* x, int64_t x_stride, int part,
                      __m256i (&sums)[kHalves][kRows]) {
  const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i low[kHalves][kRows], high[kHalves][kRows];
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r) low[h][r] = high[h][r] = _mm256_setzero_si256();
  if constexpr (F::kBits == 4) {
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair)
      for (int h = 0; h < kHalves; ++h) {
        const __m256i codes = load_codes(cell + 64 * pair + 32 * h);
        const __m256i even = _mm256_and_si256(codes, nibble);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
        for (int r = 0; r < kRows; ++r) {
          const int8_t* quads = x + r * x_stride + 8 * pair;
          add_products(low[h][r], even, broadcast_quad(quads));
          add_products(low[h][r], odd, broadcast_quad(quads + 4));
        }
      }
    for (int h = 0; h < kHalves; ++h)
      for (int r = 0; r < kRows; ++r) sums[h][r] = _mm256_madd_epi16(low[h][r], ones);
  } else {
    constexpr int kQuads = F::kScaleGroup / 4;
#pragma GCC unroll 8
    for (int quad = part * kQuads; quad < (part + 1) * kQuads; ++quad)
      for (int h = 0; h < kHalves; ++h) {
        const __m256i codes = load_codes(cell + 64 * quad + 32 * h);
        const __m256i lower = _mm256_and_si256(codes, nibble);
        const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
        for (int r = 0; r < kRows; ++r) {
          const __m256i activations = broadcast_quad(x + r * x_stride + 4 * quad);
          add_products(low[h][r], lower, activations);
          add_products(high[h][r], upper, activations);
        }
      }
    const __m256i sixteens = _mm256_set1_epi16(16);
    for (int h = 0; h < kHalves; ++h)
      for (int r = 0; r < kRows; ++r)
        sums[h][r] =
            _mm256_add_epi32(_mm256_madd_epi16(low[h][r], ones), _mm256_madd_epi16(high[h][r], sixteens));
  }
}

// kRows rows times kHalves halves (8 outputs each) of the block, from half `first` on.
template <typename F, int kRows, int kHalves>
void multiply_halves(const Tile& t, int first) {
  using Scale = typename F::Scale;
  const int64_t groups = t.a.groups, scale_groups = groups * F::kParts, x_stride = groups * kGroup * F::kPlanes;
  const int64_t scales_at = t.block * scale_groups * kBlock + 8 * first;
  const Scale* scales = static_cast<const Scale*>(t.w.scales) + scales_at;
  const Scale* mins = F::kMins ? static_cast<const Scale*>(t.w.mins) + scales_at : nullptr;
  const uint8_t* cell = t.w.codes + t.block * groups * kCellBytes<F::kBits> + 32 * first;
  const int8_t* x = t.a.codes + t.row * x_stride;
  const float* x_scales = t.a.scales + t.row * groups;
  const float* x_sums = t.a.scaled_sums + t.row * groups;
  const int32_t* corrections = t.a.corrections + t.row * scale_groups;
  __m256 acc[kHalves][kRows];
  for (int h = 0; h < kHalves; ++h)
    for (int r = 0; r < kRows; ++r) acc[h][r] = _mm256_setzero_ps();
  for (int64_t g = 0; g < groups; ++g, cell += kCellBytes<F::kBits>, x += kGroup * F::kPlanes)
    for (int part = 0; part < F::kParts; ++part, scales += kBlock, mins += F::kMins ? kBlock : 0) {
      if (kRows <= kFewRows && first == 0) prefetch(cell, kCellBytes<F::kBits>);
      __m256i sums[kHalves][kRows];
      sum_group<F, kRows, kHalves>(cell, x, x_stride, part, sums);
      if constexpr (F::kPlanes == 2) {
        __m256i low[kHalves][kRows];
        sum_group<F, kRows, kHalves>(cell, x + kGroup, x_stride, part, low);
        for (int h = 0; h < kHalves; ++h)
          for (int r = 0; r < kRows; ++r)
            sums[h][r] = _mm256_add_epi32(_mm256_slli_epi32(sums[h][r], 8), low[h][r]);
      }
      for (int h = 0; h < kHalves; ++h) {
        const __m256 scale = load_eight(scales + 8 * h);
        const __m256 min = F::kMins ? load_eight(mins + 8 * h) : scale;
        for (int r = 0; r < kRows; ++r) {
          __m256i sum = sums[h][r];
          if (F::kCorrected)
            sum = _mm256_add_epi32(sum, _mm256_set1_epi32(corrections[r * scale_groups + g * F::kParts + part]));
          const __m256 product = _mm256_mul_ps(scale, _mm256_broadcast_ss(x_scales + r * groups + g));
          acc[h][r] = _mm256_fmadd_ps(product, _mm256_cvtepi32_ps(sum), acc[h][r]);
          if (F::kMins) acc[h][r] = _mm256_fmadd_ps(min, _mm256_broadcast_ss(x_sums + r * groups + g), acc[h][r]);
        }
      }
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

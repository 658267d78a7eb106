// The tile with AVX-512 VNNI. vpdpbusd multiplies four unsigned codes of each of 16 outputs by four
// activations and adds all into 32 bits, which is exact for codes of any width.
#pragma once
#include <immintrin.h>

#include "cpu/int_format.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int kTileRows = 8;

inline __m512 load_block(const float* p) { return _mm512_loadu_ps(p); }
inline __m512 load_block(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512i load_codes(const uint8_t* p) { return _mm512_loadu_si512(p); }

inline __m512i add_products(__m512i sum, __m512i codes, const int8_t* activations) {
  int32_t quad;
  std::memcpy(&quad, activations, sizeof quad);
  return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(quad));
}

// Adds the exact sums over one scale group to sums[r].
template <typename F, int kRows>
inline void sum_group(const uint8_t* cell, const int8_t* x, int64_t x_stride, int part, __m512i (&sums)[kRows]) {
  if constexpr (F::kBits == 4) {
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      const __m512i codes = load_codes(cell + 64 * pair);
      const __m512i even = _mm512_and_si512(codes, nibble);
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        sums[r] = add_products(sums[r], even, x + r * x_stride + 8 * pair);
        sums[r] = add_products(sums[r], odd, x + r * x_stride + 8 * pair + 4);
      }
    }
  } else {
    constexpr int kQuads = F::kScaleGroup / 4;
#pragma GCC unroll 8
    for (int quad = part * kQuads; quad < (part + 1) * kQuads; ++quad) {
      const __m512i codes = load_codes(cell + 64 * quad);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) sums[r] = add_products(sums[r], codes, x + r * x_stride + 4 * quad);
    }
  }
}

template <typename F, int kRows>
void multiply(const Tile& t) {
  using Scale = typename F::Scale;
  const int64_t groups = t.a.groups, scale_groups = groups * F::kParts, x_stride = groups * kGroup * F::kPlanes;
  const Scale* scales = static_cast<const Scale*>(t.w.scales) + t.block * scale_groups * kBlock;
  const Scale* mins = F::kMins ? static_cast<const Scale*>(t.w.mins) + t.block * scale_groups * kBlock : nullptr;
  const uint8_t* cell = t.w.codes + t.block * groups * kCellBytes<F::kBits>;
  const int8_t* x = t.a.codes + t.row * x_stride;
  const float* x_scales = t.a.scales + t.row * groups;
  const float* x_sums = t.a.scaled_sums + t.row * groups;
  const int32_t* corrections = t.a.corrections + t.row * scale_groups;
  __m512 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; ++g, cell += kCellBytes<F::kBits>, x += kGroup * F::kPlanes)
    for (int part = 0; part < F::kParts; ++part, scales += kBlock, mins += F::kMins ? kBlock : 0) {
      if (kRows <= kFewRows) prefetch(cell, kCellBytes<F::kBits>);
      __m512i sums[kRows];
      for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_si512();
      if constexpr (F::kPlanes == 2) {
        sum_group<F, kRows>(cell, x, x_stride, part, sums);
        for (int r = 0; r < kRows; ++r) sums[r] = _mm512_slli_epi32(sums[r], 8);
      }
      if constexpr (F::kCorrected)
        for (int r = 0; r < kRows; ++r) {
          const int32_t correction = corrections[r * scale_groups + g * F::kParts + part];
          sums[r] = _mm512_add_epi32(sums[r], _mm512_set1_epi32(correction));
        }
      sum_group<F, kRows>(cell, x + (F::kPlanes - 1) * kGroup, x_stride, part, sums);
      const __m512 scale = load_block(scales), min = F::kMins ? load_block(mins) : scale;
      for (int r = 0; r < kRows; ++r) {
        const __m512 product = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[r * groups + g]));
        acc[r] = _mm512_fmadd_ps(product, _mm512_cvtepi32_ps(sums[r]), acc[r]);
        if (F::kMins) acc[r] = _mm512_fmadd_ps(min, _mm512_set1_ps(x_sums[r * groups + g]), acc[r]);
      }
    }
  const __mmask16 mask = static_cast<__mmask16>((1u << t.lanes) - 1);
  for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(t.y + r * t.y_stride, mask, acc[r]);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

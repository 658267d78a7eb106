// The tile with AVX-512 VNNI. vpdpbusd multiplies four unsigned codes of each of 16 outputs by four
// activations and adds all into 32 bits, which is exact for codes of any width.
#pragma once
#include <immintrin.h>

#include "cpu/int_quads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int kTileRows = 8;

inline __m512i add_products(__m512i sum, __m512i codes, const int8_t* activations) {
  int32_t quad;
  std::memcpy(&quad, activations, sizeof quad);
  return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(quad));
}

// Adds the exact sums over one scale group to sums[r].
template <typename F, int kPart, int kRows>
inline void sum_part(const Quads<F>& quads, const uint8_t* cell, const int8_t* x, int64_t x_stride,
                     __m512i (&sums)[kRows]) {
  constexpr int kCount = kQuads / F::kParts;
  __m512i high[kRows];
  for (int r = 0; r < kRows; ++r) high[r] = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int quad = kPart * kCount; quad < (kPart + 1) * kCount; ++quad) {
    const __m512i codes = quads(cell, quad);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const int8_t* activations = x + r * x_stride + 4 * quad;
      if constexpr (F::kPlanes == 2) {
        high[r] = add_products(high[r], codes, activations);
        activations += kGroup;
      }
      sums[r] = add_products(sums[r], codes, activations);
    }
  }
  if constexpr (F::kPlanes == 2)
    for (int r = 0; r < kRows; ++r) sums[r] = _mm512_add_epi32(sums[r], _mm512_slli_epi32(high[r], 8));
}

// Scale group kPart of cell g of all rows.
template <typename F, int kPart, int kRows>
inline void multiply_part(const TileData<F>& d, const Quads<F>& quads, int64_t g, __m512 (&acc)[kRows]) {
  const int64_t s = g * F::kParts + kPart;
  __m512i sums[kRows];
  for (int r = 0; r < kRows; ++r)
    sums[r] = F::kCorrected ? _mm512_set1_epi32(d.corrections[r * d.scale_groups + s]) : _mm512_setzero_si512();
  sum_part<F, kPart, kRows>(quads, d.cells + g * kCellBytes<F::kBits>, d.x + g * kGroup * F::kPlanes, d.x_stride,
                            sums);
  const __m512 scale = load_scales_16(typename F::Scales(), d.scales, s);
  const __m512 min = F::kMins ? load_scales_16(typename F::Scales(), d.mins, s) : scale;
  for (int r = 0; r < kRows; ++r) {
    const __m512 product = _mm512_mul_ps(scale, _mm512_set1_ps(d.x_scales[r * d.groups + g]));
    acc[r] = _mm512_fmadd_ps(product, _mm512_cvtepi32_ps(sums[r]), acc[r]);
    if (F::kMins) acc[r] = _mm512_fmadd_ps(min, _mm512_set1_ps(d.x_sums[r * d.scale_groups + s]), acc[r]);
  }
}

template <typename F, int kRows>
void multiply(const Tile& t) {
  const TileData<F> d(t);
  const Quads<F> quads(t.w);
  __m512 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_setzero_ps();
  for (int64_t g = 0; g < d.groups; ++g) {
    if (kRows <= kFewRows || t.row == 0) prefetch(d.cells + g * kCellBytes<F::kBits>, kCellBytes<F::kBits>);
    multiply_part<F, 0, kRows>(d, quads, g, acc);
    if constexpr (F::kParts == 2) multiply_part<F, 1, kRows>(d, quads, g, acc);
  }
  const __mmask16 mask = static_cast<__mmask16>((1u << t.lanes) - 1);
  for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(t.y + r * t.y_stride, mask, acc[r]);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

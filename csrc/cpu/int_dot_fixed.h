// Few rows in fixed point: sums of codes per group in 32 bits with VNNI, scaled and added in 64.
#pragma once
#include "cpu/fixed_rows.h"
#include "cpu/int_fixed.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// 64-bit sums of 16 outputs: those of even lanes and those of odd ones.
struct WideSums {
  __m512i even, odd;

  void add_products(__m512i a, __m512i b) {
    even = _mm512_add_epi64(even, _mm512_mul_epi32(a, b));
    odd = _mm512_add_epi64(odd, _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)));
  }
  __m512 floats() const {
    const __m512i order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(_mm512_castps256_ps512(_mm512_cvtepi64_ps(even)), order,
                                  _mm512_castps256_ps512(_mm512_cvtepi64_ps(odd)));
  }
};

inline __m512i dot(__m512i sum, __m512i codes, const uint8_t* activations) {
  int32_t quad;
  std::memcpy(&quad, activations, sizeof quad);
  return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(quad));
}

// Adds scale group kPart of cell g of all rows. x: the high plane of the cell's inputs in the first row.
template <typename F, int kPart, int kRows>
inline void add_part(const FixedRows& rows, int64_t first, const FixedScales<F>& scales, const Quads<F>& quads,
                     int32_t offset, const uint8_t* cell, int64_t g, const uint8_t* x, WideSums (&acc)[kRows]) {
  constexpr int kCount = kQuads / F::kParts;
  const int64_t s = g * F::kParts + kPart;
  __m512i high[kRows], low[kRows];
  for (int r = 0; r < kRows; ++r) {
    high[r] = _mm512_setzero_si512();
    const uint32_t sum = static_cast<uint32_t>(rows.sums[(first + r) * rows.scale_groups + s]);
    low[r] = F::kCorrected ? _mm512_set1_epi32(static_cast<int32_t>(0u - static_cast<uint32_t>(offset) * sum))
                           : _mm512_setzero_si512();
  }
#pragma GCC unroll 8
  for (int quad = kPart * kCount; quad < (kPart + 1) * kCount; ++quad) {
    const __m512i codes = quads(cell, quad);
    for (int r = 0; r < kRows; ++r) {
      high[r] = dot(high[r], codes, x + 64 * r + 4 * quad);
      low[r] = dot(low[r], codes, x + 64 * r + 4 * quad + kTileBytes);
    }
  }
  const __m512i scale = scales.scale(s), min = F::kMins ? scales.min(s) : scale;
  for (int r = 0; r < kRows; ++r) {
    acc[r].add_products(_mm512_add_epi32(low[r], _mm512_slli_epi32(high[r], 8)), scale);
    if (F::kMins) acc[r].add_products(min, _mm512_set1_epi32(rows.sums[(first + r) * rows.scale_groups + s]));
  }
}

// Rows [first, first + kRows), all in one tile, times one strip.
template <typename F, int kRows>
void multiply_few(const IntMatrix& w, const FixedRows& rows, int64_t first, const Strip& strip) {
  const int64_t groups = rows.scale_groups / F::kParts;
  const FixedScales<F> scales(w, strip.block, rows.scale_groups);
  const Quads<F> quads(w);
  const uint8_t* cell = w.codes + strip.block * groups * kCellBytes<F::kBits>;
  const uint8_t* x = rows.row(first);
  WideSums acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int64_t g = 0; g < groups; ++g, cell += kCellBytes<F::kBits>) {
    const uint8_t* inputs = x + g / 2 * 2 * kTileBytes + g % 2 * 32;
    prefetch(cell, kCellBytes<F::kBits>);
    add_part<F, 0, kRows>(rows, first, scales, quads, w.offset, cell, g, inputs, acc);
    if constexpr (F::kParts == 2) add_part<F, 1, kRows>(rows, first, scales, quads, w.offset, cell, g, inputs, acc);
  }
  const __mmask16 mask = static_cast<__mmask16>((1u << strip.lanes) - 1);
  for (int r = 0; r < kRows; ++r) {
    const __m512 unit = _mm512_mul_ps(scales.unit(), _mm512_set1_ps(rows.scales[first + r]));
    _mm512_mask_storeu_ps(strip.y + (first + r) * strip.stride, mask, _mm512_mul_ps(acc[r].floats(), unit));
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

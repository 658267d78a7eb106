// Activations of the fixed-point kernels: 16-bit integers with one scale per row, in two planes of bytes,
//   x ~ scale * (256 * high + low),  scale = amax / (127 * 256)
// laid out as tiles: [16 rows][64 inputs][high, low][row][64 bytes]. A row whose amax is not finite has codes 0 and
// that scale, which makes its results NaN; one below kSmallest is zero.
#pragma once
#include <immintrin.h>

#include "cpu/activations.h"
#include "cpu/amx.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kTileRows = 16;
constexpr float kMostCode = 127.0f * 256;

struct FixedRows {
  uint8_t* planes;
  float* scales;  // [row]
  int32_t* sums;  // [row][scale groups] of codes, for few rows only
  int64_t count;
  int64_t tiles;  // of inputs
  int64_t scale_groups;

  // Of 16 rows.
  int64_t tile_bytes() const { return tiles * 2 * kTileBytes; }

  // Inputs [64 * tile, + 64) of the high plane of a row; the low one is 1024 bytes on, the next tile 2048.
  uint8_t* row(int64_t r) const { return planes + (r / kTileRows * tiles * 2 * kTileRows + r % kTileRows) * 64; }
};

inline __m512 load_inputs(const float* x, int64_t count) {
  const uint32_t mask = count >= 16 ? 0xffff : count > 0 ? (1u << count) - 1 : 0;
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x);
}

// Magnitudes compared as integers: NaN is above infinity.
inline float row_amax(const float* x, int64_t inputs) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();
  for (int64_t k = 0; k < inputs; k += 16)
    most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(load_inputs(x + k, inputs - k)), magnitude));
  return from_bits(static_cast<uint32_t>(_mm512_reduce_max_epi32(most)));
}

// sums: of the codes of each scale group, `parts` to 32 inputs; null: not wanted.
inline void quantise_fixed(const float* x, int64_t inputs, float inverse, uint8_t* to, int32_t* sums, int parts) {
  for (int64_t k = 0; k < inputs; k += 16) {
    const __m512 scaled = _mm512_mul_ps(load_inputs(x + k, inputs - k), _mm512_set1_ps(inverse));
    const __m512i codes = _mm512_cvtps_epi32(scaled);
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(codes, _mm512_set1_epi32(128)), 8);
    uint8_t* bytes = to + k / 64 * 2 * kTileBytes + k % 64;
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(high));
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes + kTileBytes), _mm512_cvtepi32_epi8(codes));
    if (!sums) continue;
    const int32_t sum = _mm512_reduce_add_epi32(codes);
    if (parts == 2 || k % 32 == 0) sums[k * parts / 32] = sum;
    else sums[k / 32] += sum;
  }
}

inline void quantise_fixed_row(const FixedRows& rows, int64_t r, const float* x, int64_t inputs, int parts) {
  const float amax = row_amax(x, inputs);
  const bool usable = amax >= kSmallest && amax <= kLargest;
  uint8_t* to = rows.row(r);
  int32_t* sums = rows.sums ? rows.sums + r * rows.scale_groups : nullptr;
  // What lies behind the inputs is multiplied with weights of zero, but must not be read unwritten.
  for (int64_t k = inputs / 64; k < rows.tiles; ++k)
    for (int plane = 0; plane < 2; ++plane) std::memset(to + (2 * k + plane) * kTileBytes, 0, 64);
  if (sums) std::memset(sums, 0, rows.scale_groups * sizeof(int32_t));
  quantise_fixed(x, usable ? inputs : 0, kMostCode / amax, to, sums, parts);
  if (!usable)
    for (int64_t k = 0; k < 2 * rows.tiles; ++k) std::memset(to + k * kTileBytes, 0, 64);
  rows.scales[r] = amax < kSmallest ? 0.0f : usable ? amax / kMostCode : amax;
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

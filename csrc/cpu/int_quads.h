// Codes as the dot products take them: Quads<F> turns the cells of format F into quads of bytes (see int_layout.h),
// after looking them up where F has a codebook. All that a new format adds to the tiles is here.
#pragma once
#if REDLINE_ISA_avx2
#include <immintrin.h>
#endif

#include "cpu/int_format.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// One quad of one lane.
template <typename F>
inline uint32_t lane_quad(const IntMatrix& w, const uint8_t* cell, int64_t lane, int quad) {
  uint32_t codes = read_quad<F::kBits>(cell, lane, quad);
  if constexpr (F::kCodebook) {
    uint8_t bytes[4];
    std::memcpy(bytes, &codes, sizeof codes);
    for (uint8_t& byte : bytes) byte = w.codebook[byte];
    std::memcpy(&codes, bytes, sizeof codes);
  }
  return codes;
}

#if REDLINE_ISA_avx512
// Fields that start at bit `from` of each byte are moved to bit kTo; other bits are garbage.
template <int kTo>
inline __m512i move_field(__m512i fields, int from) {
  return from > kTo   ? _mm512_srli_epi16(fields, from - kTo)
         : from < kTo ? _mm512_slli_epi16(fields, kTo - from)
                      : fields;
}

template <typename F>
struct Quads {
  __m512i codebook = _mm512_setzero_si512();

  explicit Quads(const IntMatrix& w) {
    if constexpr (F::kCodebook)
      codebook = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.codebook)));
  }

  // Quad `quad` of all lanes.
  __m512i operator()(const uint8_t* cell, int quad) const {
    constexpr int kLow = kLowBits<F::kBits>, kHigh = kHighBits<F::kBits>;
    __m512i codes = _mm512_loadu_si512(cell + 64 * (quad * kLow / 8));
    if constexpr (kLow < 8)
      codes = _mm512_and_si512(move_field<0>(codes, quad * kLow % 8), _mm512_set1_epi32(field_mask(kLow)));
    if constexpr (kHigh > 0) {
      const __m512i high = _mm512_loadu_si512(cell + kCellBytes<kLow> + 64 * (quad * kHigh / 8));
      const __m512i mask = _mm512_set1_epi32(field_mask(kHigh) << kLow);
      constexpr int kOrBothAnd = 0xf8;  // a | (b & c)
      codes = _mm512_ternarylogic_epi32(codes, move_field<kLow>(high, quad * kHigh % 8), mask, kOrBothAnd);
    }
    if constexpr (F::kCodebook) codes = _mm512_shuffle_epi8(codebook, codes);
    return codes;
  }
};
#elif REDLINE_ISA_avx2
template <int kTo>
inline __m256i move_field(__m256i fields, int from) {
  return from > kTo   ? _mm256_srli_epi16(fields, from - kTo)
         : from < kTo ? _mm256_slli_epi16(fields, kTo - from)
                      : fields;
}
inline __m256i load_half_vector(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

template <typename F>
struct Quads {
  __m256i codebook = _mm256_setzero_si256();

  explicit Quads(const IntMatrix& w) {
    if constexpr (F::kCodebook)
      codebook = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.codebook)));
  }

  // Quad `quad` of the first 8 lanes, or of the others with a cell 32 bytes on.
  __m256i operator()(const uint8_t* cell, int quad) const {
    constexpr int kLow = kLowBits<F::kBits>, kHigh = kHighBits<F::kBits>;
    __m256i codes = load_half_vector(cell + 64 * (quad * kLow / 8));
    if constexpr (kLow < 8)
      codes = _mm256_and_si256(move_field<0>(codes, quad * kLow % 8), _mm256_set1_epi32(field_mask(kLow)));
    if constexpr (kHigh > 0) {
      const __m256i high = load_half_vector(cell + kCellBytes<kLow> + 64 * (quad * kHigh / 8));
      const __m256i mask = _mm256_set1_epi32(field_mask(kHigh) << kLow);
      codes = _mm256_or_si256(codes, _mm256_and_si256(move_field<kLow>(high, quad * kHigh % 8), mask));
    }
    if constexpr (F::kCodebook) codes = _mm256_shuffle_epi8(codebook, codes);
    return codes;
  }
};
#endif

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// How scales and mins of the integer formats are stored (see ScaleType in kernels.h): one struct for each way.
//
// A struct has the bytes that `groups` scale groups of one block take, and load(p, g, lanes): the scales of group g
// of the block at p as float32, of all its lanes or of as many as a vector has. Products with factors are exact: d
// has 11 bits, a factor 8.
#pragma once
#if REDLINE_ISA_avx2
#include <immintrin.h>
#endif

#include "cpu/numbers.h"
#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

inline float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return from_half(bits);
}

template <typename T, bool kMins_, int kGroup_ = 32>
struct PlainScales {
  static constexpr ScaleType kType = sizeof(T) == 4 ? ScaleType::f32 : ScaleType::f16;
  static constexpr bool kMins = kMins_;
  static constexpr int kGroup = kGroup_;

  static constexpr int64_t bytes(int64_t groups) { return groups * kBlock * sizeof(T); }
  static const T* at(const uint8_t* p, int64_t g) { return reinterpret_cast<const T*>(p) + g * kBlock; }
};

template <int kFactorBits_, bool kMins_, int kGroup_ = 32>
struct NestedScales {
  static constexpr ScaleType kType = kFactorBits_ == 8 ? ScaleType::nested8 : ScaleType::nested4;
  static constexpr bool kMins = kMins_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kFactorBits = kFactorBits_;
  static constexpr int64_t kNested = kSuperblock / kGroup;  // scale groups of a superblock
  static constexpr int64_t kDBytes = kBlock * 2, kBytes = kDBytes + kNested * kBlock * kFactorBits / 8;

  static constexpr int64_t bytes(int64_t groups) { return groups / kNested * kBytes; }
  // Where d and the factors of a group lie.
  static const uint8_t* d_at(const uint8_t* p, int64_t g) { return p + g / kNested * kBytes; }
  static const uint8_t* factors_at(const uint8_t* p, int64_t g) {
    return d_at(p, g) + kDBytes + g % kNested * kFactorBits / 8 * kBlock;
  }
};

template <typename T, bool kMins, int kGroup>
inline float scale_at(PlainScales<T, kMins, kGroup> s, const uint8_t* p, int64_t g, int64_t lane) {
  return widen(s.at(p, g)[lane]);
}
template <int kFactorBits, bool kMins, int kGroup>
inline float scale_at(NestedScales<kFactorBits, kMins, kGroup> s, const uint8_t* p, int64_t g, int64_t lane) {
  const uint8_t byte = s.factors_at(p, g)[lane];
  const int factor = kFactorBits == 8 ? static_cast<int8_t>(byte) : byte >> g % 2 * 4 & 15;
  return half_at(s.d_at(p, g) + 2 * lane) * static_cast<float>(factor);
}

#if REDLINE_ISA_avx2
inline __m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 load_eight(const void* p) {  // of f16
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
// A factor in each byte; garbage above the 4 bits of nested4 is cut off.
template <int kFactorBits>
inline __m128i cut_factors(__m128i bytes, int64_t g) {
  if constexpr (kFactorBits == 8) return bytes;
  return _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(static_cast<int>(g % 2 * 4))), _mm_set1_epi8(15));
}

// The scales of eight lanes from `first` on.
template <typename T, bool kMins, int kGroup>
inline __m256 load_scales_8(PlainScales<T, kMins, kGroup> s, const uint8_t* p, int64_t g, int first) {
  return load_eight(s.at(p, g) + first);
}
template <int kFactorBits, bool kMins, int kGroup>
inline __m256 load_scales_8(NestedScales<kFactorBits, kMins, kGroup> s, const uint8_t* p, int64_t g, int first) {
  const __m256 d = load_eight(static_cast<const void*>(s.d_at(p, g) + 2 * first));
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(s.factors_at(p, g) + first));
  return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(cut_factors<kFactorBits>(bytes, g))));
}
#endif

#if REDLINE_ISA_avx512
inline __m512 load_sixteen(const float* p) { return _mm512_loadu_ps(p); }
inline __m512 load_sixteen(const void* p) {  // of f16
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}

template <typename T, bool kMins, int kGroup>
inline __m512 load_scales_16(PlainScales<T, kMins, kGroup> s, const uint8_t* p, int64_t g) {
  return load_sixteen(s.at(p, g));
}
template <int kFactorBits, bool kMins, int kGroup>
inline __m512 load_scales_16(NestedScales<kFactorBits, kMins, kGroup> s, const uint8_t* p, int64_t g) {
  const __m512 d = load_sixteen(static_cast<const void*>(s.d_at(p, g)));
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(s.factors_at(p, g)));
  return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(cut_factors<kFactorBits>(bytes, g))));
}
#endif

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

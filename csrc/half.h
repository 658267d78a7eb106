// IEEE half precision to and from float, rounding to nearest even; too large becomes infinity.
// Included only by csrc/cpu/*.cpp, for the reason given in simd.h.
#pragma once
#include <cstring>

#include "simd.h"

namespace redline {
namespace REDLINE_ISA {

#if REDLINE_ISA_avx2
inline float from_half(uint16_t h) { return _cvtsh_ss(h); }
inline uint16_t to_half(float f) { return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT); }
inline f32x8 load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline void store_half(uint16_t* p, f32x8 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
#else
inline float from_half(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
  uint32_t bits;
  if (rest >= 0x7c00u) {  // infinity or NaN (made quiet)
    bits = 0x7f800000u | (rest & 0x3ffu) << 13 | (rest > 0x7c00u ? 0x400000u : 0u);
  } else if (rest >= 0x400u) {
    bits = (rest << 13) + 0x38000000u;
  } else {  // subnormal: rest * 2^-24, exact in float
    const float value = static_cast<float>(rest) * 0x1p-24f;
    std::memcpy(&bits, &value, 4);
  }
  bits |= sign;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline uint16_t to_half(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return sign | 0x7e00u | static_cast<uint16_t>(bits >> 13 & 0x3ffu);
  if (bits >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 65536 or more
  if (bits < 0x38800000u) {  // subnormal half: adding 0.5 lets the float adder round at 2^-24
    float value;
    std::memcpy(&value, &bits, 4);
    value += 0.5f;
    std::memcpy(&bits, &value, 4);
    return sign | static_cast<uint16_t>(bits - 0x3f000000u);
  }
  return sign | static_cast<uint16_t>((bits - 0x38000000u + 0xfffu + (bits >> 13 & 1u)) >> 13);
}
inline f32x8 load_half(const uint16_t* p) {
  f32x8 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = from_half(p[i]);
  return r;
}
inline void store_half(uint16_t* p, f32x8 a) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_half(a.v[i]);
}
#endif

}  // namespace REDLINE_ISA
}  // namespace redline

// Sixteen-bit floats as float32, exactly, on every instruction set.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"
#if REDLINE_ISA_avx2 || REDLINE_ISA_avx512
#include <immintrin.h>
#endif

namespace redline {
namespace REDLINE_ISA {

// Storage only: no arithmetic is done in these types.
struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

inline float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float widen(float value) { return value; }
inline float widen(bf16 value) { return from_bits(static_cast<uint32_t>(value.bits) << 16); }
#if REDLINE_ISA_avx2 || REDLINE_ISA_avx512
inline float widen(f16 value) { return _cvtsh_ss(value.bits); }
#else
inline float widen(f16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t rest = value.bits & 0x7fff;
  if (rest >= 0x7c00) return from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);  // infinity or NaN
  // A normal number only needs its exponent's bias moved; doing so by a multiplication is right for
  // subnormal ones too.
  const float magnitude = from_bits(rest << 13) * from_bits(0x77800000);  // times 2^112
  return sign ? -magnitude : magnitude;
}
#endif

}  // namespace REDLINE_ISA
}  // namespace redline

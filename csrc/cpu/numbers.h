// The element types of packed weights, widened to float32 exactly.
#pragma once
#include <cstdint>
#include <cstring>

#include "half.h"

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
inline float widen(f16 value) { return from_half(value.bits); }
inline float widen(bf16 value) { return from_bits(static_cast<uint32_t>(value.bits) << 16); }

}  // namespace REDLINE_ISA
}  // namespace redline

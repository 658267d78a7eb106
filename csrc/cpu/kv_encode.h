// A row of a key or a value on its way into the paged cache: its codes and its scales in each format.
//
// Beyond the largest number of a format there is only infinity, which a weight of zero cannot take out: what is too
// large becomes the largest instead. NaN stays NaN, where there are scales for all that share one.
#pragma once
#include <cstring>

#include "kv_format.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr float kLargestHalf = 65504.0f;

inline f32x8 clamp(f32x8 x, float limit) { return min(splat(limit), max(splat(-limit), x)); }
inline f32x8 saturate(f32x8 x) { return clamp(x, kLargestHalf); }

// To the nearest integer, ties to the even one; for less than 2^22.
inline f32x8 round(f32x8 x) { return (x + splat(12582912.0f)) - splat(12582912.0f); }

// Where the scales of one row go, as bytes: those of the row's groups are a block's tokens apart.
struct ScaleSlot {
  uint8_t* first;
  int64_t block_size;
  template <typename S>
  void put(int64_t group, S scale) const {
    std::memcpy(first + group * block_size * static_cast<int64_t>(sizeof(S)), &scale, sizeof(S));
  }
};

inline void encode(const float* x, float* to, int64_t dim, ScaleSlot) { std::memcpy(to, x, dim * sizeof(float)); }

inline void encode(const float* x, f16* to, int64_t dim, ScaleSlot) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t count = dim - i < kLanes ? dim - i : kLanes;
    uint16_t halves[kLanes];
    store_half(halves, saturate(load_upto(x + i, count)));
    std::memcpy(to + i, halves, count * sizeof(uint16_t));
  }
}

// To nearest even, in integers: the upper half of a float is a bfloat16.
inline uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

inline void encode(const float* x, bf16* to, int64_t dim, ScaleSlot) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t count = dim - i < kLanes ? dim - i : kLanes;
    float values[kLanes];
    store(values, clamp(load_upto(x + i, count), from_bits(0x7f7f0000u)));
    for (int64_t j = 0; j < count; ++j) to[i + j].bits = to_bf16(values[j]);
  }
}

inline int8_t to_code(float value, int8_t) { return static_cast<int8_t>(value); }

// To nearest even, from at most 448. Below 2^-6 numbers are multiples of 2^-9, which an addition rounds to.
inline fp8 to_code(float value, fp8) {
  uint32_t bits, sign;
  std::memcpy(&bits, &value, sizeof bits);
  sign = bits >> 24 & 0x80u;
  bits &= 0x7fffffffu;
  const uint32_t normal = ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
  const float small = from_bits(bits) + 16384.0f;
  uint32_t multiples;
  std::memcpy(&multiples, &small, sizeof multiples);
  const uint32_t code = bits < 0x3c800000u ? multiples - 0x46800000u : normal;
  return {static_cast<uint8_t>(sign | code)};
}

inline f32x8 round_to(f32x8 x, int8_t) { return round(x); }
inline f32x8 round_to(f32x8 x, fp8) { return x; }

// The largest magnitude of the row becomes the largest code. A NaN makes the scale NaN, and so the whole row.
template <typename T>
void encode_scaled(const float* x, T* to, int64_t dim, float largest, ScaleSlot scales) {
  f32x8 highest = splat(0.0f), zeros = splat(0.0f);
  for (int64_t i = 0; i < dim; i += kLanes) {
    const f32x8 value = saturate(load_upto(x + i, dim - i < kLanes ? dim - i : kLanes));
    highest = max(highest, abs(value));
    zeros = fma(value, splat(0.0f), zeros);
  }
  const float scale = max_lane(highest) / largest + sum(zeros);
  scales.put(0, scale);
  if (!(scale > 0.0f)) {
    std::memset(static_cast<void*>(to), 0, dim);
    return;
  }
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t count = dim - i < kLanes ? dim - i : kLanes;
    const f32x8 value = saturate(load_upto(x + i, count)) / splat(scale);
    float codes[kLanes];
    store(codes, clamp(round_to(value, T()), largest));
    for (int64_t j = 0; j < count; ++j) to[i + j] = to_code(codes[j], T());
  }
}

inline void encode(const float* x, int8_t* to, int64_t dim, ScaleSlot scales) {
  encode_scaled(x, to, dim, 127.0f, scales);
}
inline void encode(const float* x, fp8* to, int64_t dim, ScaleSlot scales) { encode_scaled(x, to, dim, 448.0f, scales); }

// The number of largest magnitude becomes -8, so that all sixteen codes serve; the scale may be negative.
inline float int4_scale(const float* x) {
  f32x8 highest = load(x), lowest = splat(0.0f) - highest, zeros = splat(0.0f);
  for (int64_t i = 0; i < kCodeGroup; i += kLanes) {
    const f32x8 value = load(x + i);
    highest = max(highest, value);
    lowest = max(lowest, splat(0.0f) - value);
    zeros = fma(value, splat(0.0f), zeros);
  }
  const float high = max_lane(highest), low = max_lane(lowest);
  const float scale = (high > low ? high : -low) / -8.0f;
  const float nearest = scale > kLargestHalf ? kLargestHalf : scale < -kLargestHalf ? -kLargestHalf : scale;
  return nearest + sum(zeros);
}

// Codes of one group by the scale that readers will see.
inline void encode_int4_group(const float* x, int4x2* to, float scale) {
  const bool usable = scale < 0.0f || scale > 0.0f;  // neither zero nor NaN
  float codes[kCodeGroup];
  for (int64_t i = 0; i < kCodeGroup; i += kLanes) {
    const f32x8 code = usable ? round(load(x + i) / splat(scale)) : splat(0.0f);
    store(codes + i, min(splat(7.0f), max(splat(-8.0f), code)) + splat(8.0f));
  }
  constexpr int64_t kHalf = kCodeGroup / 2;
  for (int64_t i = 0; i < kHalf; ++i)
    to[i].bits = static_cast<uint8_t>(static_cast<int>(codes[i]) | static_cast<int>(codes[i + kHalf]) << 4);
}

inline void encode(const float* x, int4x2* to, int64_t dim, ScaleSlot scales) {
  for (int64_t g = 0; g < dim / kCodeGroup; ++g) {
    const uint16_t half = to_half(int4_scale(x + g * kCodeGroup));
    scales.put(g, half);
    encode_int4_group(x + g * kCodeGroup, to + g * kCodeGroup / 2, from_half(half));
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

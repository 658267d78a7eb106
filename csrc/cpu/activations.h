// Activations of the integer matmuls: each row is quantised per group of kGroup inputs to
//   code = nearest_even(x * (127 / amax)),  x ~ code * scale,  scale = amax / 127
// in float32, so that the products with integer weights can be summed exactly. A group whose amax is not
// finite gets codes 0 and that scale, which makes the row NaN; one below kSmallest is zero.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu/int_layout.h"
#include "kernels.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {

constexpr float kSmallest = 1e-30f;
constexpr float kLargest = 3.402823466e38f;

// Rows of quantised activations; everything the inner loops need, worked out once per call.
struct Activations {
  int8_t* codes;         // [row][groups * kGroup]
  float* scales;         // [row][groups]
  float* scaled_sums;    // [row][groups]: scale * sum of codes, what a weight's min is multiplied by
  int32_t* corrections;  // [row][groups * kGroup / weight group]: -offset * sum of codes
  int64_t groups;
};

inline float group_amax(const float* x, int64_t count) {
  // Compared as integers: the order of magnitudes is the same, and NaN is above infinity.
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t magnitude;
    std::memcpy(&magnitude, x + i, sizeof magnitude);
    magnitude &= 0x7fffffff;
    bits = magnitude > bits ? magnitude : bits;
  }
  float amax;
  std::memcpy(&amax, &bits, sizeof amax);
  return amax;
}

inline float quantise_group(const float* x, int64_t count, int8_t* codes) {
  float amax = group_amax(x, count);
  if (amax < kSmallest) amax = 0.0f;
  const bool usable = amax > 0.0f && amax <= kLargest;
  const float inverse = usable ? 127.0f / amax : 0.0f;
  for (int64_t i = 0; i < kGroup; ++i)
    codes[i] = i < count && usable ? static_cast<int8_t>(std::lrintf(x[i] * inverse)) : 0;
  return amax / 127.0f;
}

inline int32_t sum_codes(const int8_t* codes, int64_t count) {
  int32_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += codes[i];
  return total;
}

inline void quantise_row(const float* x, const IntMatrix& w, const Activations& a, int64_t row) {
  const int64_t parts = kGroup / w.group;
  int8_t* codes = a.codes + row * a.groups * kGroup;
  for (int64_t g = 0; g < a.groups; ++g, codes += kGroup) {
    const int64_t left = w.inputs - g * kGroup;
    const float scale = quantise_group(x + g * kGroup, left < kGroup ? left : kGroup, codes);
    int32_t total = 0;
    for (int64_t part = 0; part < parts; ++part) {
      const int32_t sum = sum_codes(codes + part * w.group, w.group);
      a.corrections[(row * a.groups + g) * parts + part] = -w.offset * sum;
      total += sum;
    }
    a.scales[row * a.groups + g] = scale;
    a.scaled_sums[row * a.groups + g] = scale * static_cast<float>(total);
  }
}

// Memory of the calling thread that is kept from call to call.
inline uint8_t* scratch(int64_t bytes) {
  thread_local std::unique_ptr<uint8_t[]> memory;
  thread_local int64_t size = 0;
  if (bytes > size) {
    memory.reset(new uint8_t[bytes + 64]);
    size = bytes;
  }
  return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~uintptr_t{63});
}

inline Activations quantise_rows(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w) {
  const int64_t groups = ceil_div(w.inputs, kGroup), cells = rows * groups;
  uint8_t* memory = scratch(cells * (kGroup + 4 + 4 + 8));
  Activations a;
  a.groups = groups;
  a.codes = reinterpret_cast<int8_t*>(memory);
  a.scales = reinterpret_cast<float*>(memory + cells * kGroup);
  a.scaled_sums = a.scales + cells;
  a.corrections = reinterpret_cast<int32_t*>(a.scaled_sums + cells);
  const int64_t grain = 1 + 16384 / w.inputs;  // fewer rows are not worth a second thread
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) quantise_row(x + r * x_stride, w, a, r);
  });
  return a;
}

}  // namespace REDLINE_ISA
}  // namespace redline

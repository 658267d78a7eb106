// Mean and variance of one row, in a fixed order.
#pragma once
#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

inline float mean(const float* x, int64_t dim) {
  f32x8 acc = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) acc = acc + load(x + i);
  float total = sum(acc);
  for (; i < dim; ++i) total += x[i];
  return total / static_cast<float>(dim);
}

inline float variance(const float* x, float center, int64_t dim) {
  f32x8 acc = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const f32x8 v = load(x + i) - splat(center);
    acc = fma(v, v, acc);
  }
  float total = sum(acc);
  for (; i < dim; ++i) total = fma(x[i] - center, x[i] - center, total);
  return total / static_cast<float>(dim);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

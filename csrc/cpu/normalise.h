// RMSNorm of one row (Zhang & Sennrich, 2019), alone or at the front of a matmul.
#pragma once
#include <cmath>

#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

inline float mean_square(const float* x, int64_t dim) {
  f32x8 acc = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const f32x8 v = load(x + i);
    acc = fma(v, v, acc);
  }
  float total = sum(acc);
  for (; i < dim; ++i) total = fma(x[i], x[i], total);
  return total / static_cast<float>(dim);
}

inline void normalise(const float* in, const float* weight, float eps, float* out, int64_t dim) {
  const float scale = 1.0f / std::sqrt(mean_square(in, dim) + eps);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store(out + i, load(in + i) * splat(scale) * load(weight + i));
  for (; i < dim; ++i) out[i] = in[i] * scale * weight[i];
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// The fast Walsh-Hadamard transform of a head (Ashkboos et al., QuaRot, NeurIPS 2024, arXiv:2404.00456).
//
// It spreads a few large dimensions over all of them, which four bits store better. It is symmetric and orthogonal:
// its own inverse, and queries and keys that both went through it have the product they had.
#pragma once
#include <cmath>

#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// In place. Blocks of the largest power of two that divides dim are transformed, each for itself.
inline void hadamard(float* x, int64_t dim) {
  const int64_t size = dim & -dim;
  for (int64_t half = 1; half < size; half *= 2)
    for (int64_t block = 0; block < dim; block += 2 * half) {
      float *first = x + block, *second = first + half;
      int64_t i = 0;
      for (; i + kLanes <= half; i += kLanes) {
        const f32x8 a = load(first + i), b = load(second + i);
        store(first + i, a + b);
        store(second + i, a - b);
      }
      for (; i < half; ++i) {
        const float a = first[i], b = second[i];
        first[i] = a + b;
        second[i] = a - b;
      }
    }
  const float factor = 1.0f / std::sqrt(static_cast<float>(size));
  for (int64_t i = 0; i < dim; ++i) x[i] *= factor;
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

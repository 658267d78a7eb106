// Rotary embedding of one token, in either order of the dimensions.
#pragma once
#include <cstring>

#include "kernels.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

void rotate_halves(const float* x, const float* cos, const float* sin, float* y, int64_t half) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t n = half - i < kLanes ? half - i : kLanes;
    const f32x8 c = load_upto(cos + i, n), s = load_upto(sin + i, n);
    const f32x8 first = load_upto(x + i, n), second = load_upto(x + half + i, n);
    store_upto(y + i, n, first * c - second * s);
    store_upto(y + half + i, n, second * c + first * s);
  }
}

void rotate_pairs(const float* x, const float* cos, const float* sin, float* y, int64_t half) {
  int64_t i = 0;
#if REDLINE_ISA_avx2
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  for (; i + 4 <= half; i += 4) {
    const __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos + i)), twice);
    const __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin + i)), twice);
    const __m256 v = _mm256_loadu_ps(x + 2 * i), swapped = _mm256_permute_ps(v, 0xb1);
    _mm256_storeu_ps(y + 2 * i, _mm256_addsub_ps(_mm256_mul_ps(v, c), _mm256_mul_ps(swapped, s)));
  }
#endif
  for (; i < half; ++i) {
    const float first = x[2 * i], second = x[2 * i + 1];
    y[2 * i] = first * cos[i] - second * sin[i];
    y[2 * i + 1] = second * cos[i] + first * sin[i];
  }
}

// Heads of dim side by side. The dimensions beyond the rotated ones stay.
inline void rotate(const RopeArgs& a, int64_t token, const float* x, float* y, int64_t heads, int64_t dim) {
  const float *cos = a.cos + a.positions[token] * a.half, *sin = a.sin + a.positions[token] * a.half;
  for (int64_t h = 0; h < heads; ++h, x += dim, y += dim) {
    if (a.interleaved) rotate_pairs(x, cos, sin, y, a.half);
    else rotate_halves(x, cos, sin, y, a.half);
    std::memcpy(y + 2 * a.half, x + 2 * a.half, (dim - 2 * a.half) * sizeof(float));
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// Eight floats at a time, on whatever the instruction set has. Included only by csrc/cpu/*.cpp, and
// everything lives in the instruction set's namespace: the same inline function compiled with different
// flags must never be merged by the linker. (The standard library's templates are; see CMakeLists.txt.)
#pragma once
#include <cmath>
#include <cstdint>
#if REDLINE_ISA_avx2
#include <immintrin.h>
#endif

namespace redline {
namespace REDLINE_ISA {

constexpr int kLanes = 8;

#if REDLINE_ISA_avx2
struct f32x8 {
  __m256 v;
};
inline f32x8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, f32x8 a) { _mm256_storeu_ps(p, a.v); }
inline f32x8 splat(float s) { return {_mm256_set1_ps(s)}; }
inline f32x8 operator+(f32x8 a, f32x8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline f32x8 operator-(f32x8 a, f32x8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline f32x8 operator*(f32x8 a, f32x8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline f32x8 operator/(f32x8 a, f32x8 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x8 max(f32x8 a, f32x8 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
#else
struct f32x8 {
  float v[kLanes];
};
#define REDLINE_EACH(expr)                            \
  f32x8 r;                                            \
  for (int i = 0; i < kLanes; ++i) r.v[i] = (expr);   \
  return r
inline f32x8 load(const float* p) { REDLINE_EACH(p[i]); }
inline void store(float* p, f32x8 a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
inline f32x8 splat(float s) { REDLINE_EACH(s); }
inline f32x8 operator+(f32x8 a, f32x8 b) { REDLINE_EACH(a.v[i] + b.v[i]); }
inline f32x8 operator-(f32x8 a, f32x8 b) { REDLINE_EACH(a.v[i] - b.v[i]); }
inline f32x8 operator*(f32x8 a, f32x8 b) { REDLINE_EACH(a.v[i] * b.v[i]); }
inline f32x8 operator/(f32x8 a, f32x8 b) { REDLINE_EACH(a.v[i] / b.v[i]); }
inline f32x8 max(f32x8 a, f32x8 b) { REDLINE_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
// Without the instruction a fused multiply-add is a slow library call; two roundings are accepted here.
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { REDLINE_EACH(a.v[i] * b.v[i] + c.v[i]); }
inline float fma(float a, float b, float c) { return a * b + c; }
#undef REDLINE_EACH
#endif

// Pairwise, so that the order is the same on every instruction set.
inline float sum(f32x8 a) {
  float t[kLanes];
  store(t, a);
  return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

}  // namespace REDLINE_ISA
}  // namespace redline

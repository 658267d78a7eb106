// Elementary functions on eight floats. They are ours, not the C library's, so that a value depends only on
// its input: not on the machine's libm, nor on where in an array the element stands. Included only by
// csrc/cpu/*.cpp, for the reason given in simd.h.
#pragma once
#include <cstring>

#include "simd.h"

namespace redline {
namespace REDLINE_ISA {

#if REDLINE_ISA_avx2
struct mask8 {
  __m256 v;
};
// b where either is NaN, as max().
inline f32x8 min(f32x8 a, f32x8 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline mask8 less(f32x8 a, f32x8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline mask8 is_nan(f32x8 a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
inline bool any(mask8 m) { return _mm256_movemask_ps(m.v) != 0; }
inline f32x8 select(mask8 m, f32x8 yes, f32x8 no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
inline f32x8 abs(f32x8 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline f32x8 with_sign_of(f32x8 magnitude, f32x8 sign) {
  return {_mm256_or_ps(magnitude.v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.v))};
}
// 2^(n-1) for t = 1.5 * 2^23 + n: the low bits of t are n, ready to become an exponent.
inline f32x8 half_power_of_two(f32x8 t) {
  const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(t.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f000000)))};
}
#else
struct mask8 {
  bool v[kLanes];
};
#define REDLINE_EACH(type, expr)                    \
  type r;                                           \
  for (int i = 0; i < kLanes; ++i) r.v[i] = (expr); \
  return r
inline f32x8 min(f32x8 a, f32x8 b) { REDLINE_EACH(f32x8, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline mask8 less(f32x8 a, f32x8 b) { REDLINE_EACH(mask8, a.v[i] < b.v[i]); }
inline mask8 is_nan(f32x8 a) { REDLINE_EACH(mask8, a.v[i] != a.v[i]); }
inline bool any(mask8 m) {
  bool found = false;
  for (int i = 0; i < kLanes; ++i) found |= m.v[i];
  return found;
}
inline f32x8 select(mask8 m, f32x8 yes, f32x8 no) { REDLINE_EACH(f32x8, m.v[i] ? yes.v[i] : no.v[i]); }
inline f32x8 abs(f32x8 a) { REDLINE_EACH(f32x8, std::fabs(a.v[i])); }
inline f32x8 with_sign_of(f32x8 magnitude, f32x8 sign) {
  REDLINE_EACH(f32x8, std::copysign(magnitude.v[i], sign.v[i]));
}
inline f32x8 half_power_of_two(f32x8 t) {
  f32x8 r;
  for (int i = 0; i < kLanes; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &t.v[i], 4);
    bits = (bits << 23) + 0x3f000000u;
    std::memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
#undef REDLINE_EACH
#endif

// The first n of eight floats; the other lanes read as `rest` and are not stored.
inline f32x8 load_first(const float* p, int64_t n, float rest = 0.0f) {
  float t[kLanes] = {rest, rest, rest, rest, rest, rest, rest, rest};
  std::memcpy(t, p, n * sizeof(float));
  return load(t);
}
inline void store_first(float* p, int64_t n, f32x8 a) {
  float t[kLanes];
  store(t, a);
  std::memcpy(p, t, n * sizeof(float));
}

inline float max_lane(f32x8 a) {
  float t[kLanes];
  store(t, a);
  float m = t[0];
  for (int i = 1; i < kLanes; ++i) m = t[i] > m ? t[i] : m;
  return m;
}

// e^x within 2 ulp; 0 where the result would be below 2^-125, infinity above 88.72, NaN for NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that n times the first is exact.
inline f32x8 exp(f32x8 x) {
  const f32x8 magic = splat(12582912.0f);
  const f32x8 clipped = min(splat(89.0f), x);
  const f32x8 t = fma(clipped, splat(1.44269504f), magic);
  const f32x8 n = t - magic;
  const f32x8 r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), clipped));
  f32x8 p = splat(0.00139262504f);
  p = fma(p, r, splat(0.00836323295f));
  p = fma(p, r, splat(0.0416665524f));
  p = fma(p, r, splat(0.166665763f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r * r, r) + splat(1.0f);
  return select(less(x, splat(-86.9f)), splat(0.0f), (p + p) * half_power_of_two(t));
}

// tanh x within 3 ulp: an odd polynomial near 0, 1 - 2 / (e^2x + 1) elsewhere.
inline f32x8 tanh(f32x8 x) {
  const f32x8 a = abs(x), u = x * x;
  const f32x8 one = splat(1.0f);
  const f32x8 far = one - splat(2.0f) / (exp(a + a) + one);
  f32x8 p = splat(0.0022460036f);
  p = fma(p, u, splat(-0.00830169581f));
  p = fma(p, u, splat(0.0217557009f));
  p = fma(p, u, splat(-0.0539575964f));
  p = fma(p, u, splat(0.133332968f));
  p = fma(p, u, splat(-0.333333343f));
  return select(less(a, splat(0.625f)), fma(p * u, x, x), with_sign_of(far, x));
}

// n is 8 but in the last vector of a row.
inline f32x8 load_upto(const float* p, int64_t n) { return n == kLanes ? load(p) : load_first(p, n); }
inline void store_upto(float* p, int64_t n, f32x8 a) {
  if (n == kLanes) store(p, a);
  else store_first(p, n, a);
}

}  // namespace REDLINE_ISA
}  // namespace redline

// Sixteen floats at a time for attention: one register of AVX-512 or two of AVX2, with the same bits.
#pragma once
#include "half.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {

constexpr int64_t kWide = 16;

#if REDLINE_ISA_avx512
struct f32x16 {
  __m512 v;
};
inline f32x16 splat16(float s) { return {_mm512_set1_ps(s)}; }
inline f32x16 load16(const float* p) { return {_mm512_loadu_ps(p)}; }
inline f32x16 load16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline f32x16 load16(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline void store16(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
inline f32x16 operator+(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline f32x8 low_half(f32x16 a) { return {_mm512_castps512_ps256(a.v)}; }
inline f32x8 high_half(f32x16 a) { return {_mm512_extractf32x8_ps(a.v, 1)}; }
#else
struct f32x16 {
  f32x8 low, high;
};
inline f32x16 splat16(float s) { return {splat(s), splat(s)}; }
inline f32x16 load16(const float* p) { return {load(p), load(p + 8)}; }
inline f32x16 load16(const uint16_t* p) { return {load_half(p), load_half(p + 8)}; }
#if REDLINE_ISA_avx2
inline f32x8 load_codes(const int8_t* p) {
  const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))};
}
#else
inline f32x8 load_codes(const int8_t* p) {
  f32x8 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = p[i];
  return r;
}
#endif
inline f32x16 load16(const int8_t* p) { return {load_codes(p), load_codes(p + 8)}; }
inline void store16(float* p, f32x16 a) {
  store(p, a.low);
  store(p + 8, a.high);
}
inline f32x16 operator+(f32x16 a, f32x16 b) { return {a.low + b.low, a.high + b.high}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {a.low - b.low, a.high - b.high}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {a.low * b.low, a.high * b.high}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {a.low / b.low, a.high / b.high}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {max(a.low, b.low), max(a.high, b.high)}; }
inline f32x8 low_half(f32x16 a) { return a.low; }
inline f32x8 high_half(f32x16 a) { return a.high; }
#endif

// The first n of sixteen elements, zeros behind them.
template <typename T>
f32x16 load16_first(const T* p, int64_t n) {
  T t[kWide] = {};
  std::memcpy(t, p, n * sizeof(T));
  return load16(t);
}
inline void store16_first(float* p, int64_t n, f32x16 a) {
  float t[kWide];
  store16(t, a);
  std::memcpy(p, t, n * sizeof(float));
}

inline float sum(f32x16 a) { return sum(low_half(a) + high_half(a)); }
inline float max_lane(f32x16 a) {
#if REDLINE_ISA_avx2
  const __m256 eight = max(low_half(a), high_half(a)).v;
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
  return max_lane(max(low_half(a), high_half(a)));
#endif
}

// 2^x within 2 ulp for x <= 0: exactly 1 at 0, exactly 0 below -125, NaN for NaN.
// x = n + r with |r| <= 1/2; the polynomial is 2^r, the best of its degree with value 1 at 0.
template <typename V>
V power_of_two_polynomial(V r, V (*constant)(float)) {
  V p = constant(0.001326472731f);
  p = fma(p, r, constant(0.009671512991f));
  p = fma(p, r, constant(0.055507335812f));
  p = fma(p, r, constant(0.240222424269f));
  p = fma(p, r, constant(0.693147003651f));
  return fma(p, r, constant(1.0f));
}
#if REDLINE_ISA_avx512
inline f32x16 exp2_16(f32x16 x) {
  const f32x16 magic = splat16(12582912.0f);  // 1.5 * 2^23: the sum rounds x to an integer
  const f32x16 n = (x + magic) - magic;
  const f32x16 p = power_of_two_polynomial<f32x16>(x - n, splat16);
  const __mmask16 keep = _mm512_cmp_ps_mask(x.v, _mm512_set1_ps(-125.0f), _CMP_NLT_UQ);
  return {_mm512_maskz_scalef_ps(keep, p.v, n.v)};
}
#else
inline f32x8 exp2_8(f32x8 x) {
  const f32x8 magic = splat(12582912.0f), t = x + magic;
  const f32x8 p = power_of_two_polynomial<f32x8>(x - (t - magic), splat);
  const f32x8 power = half_power_of_two(t);  // 2^(n-1)
  return select(less(x, splat(-125.0f)), splat(0.0f), (p + p) * power);
}
inline f32x16 exp2_16(f32x16 x) { return {exp2_8(x.low), exp2_8(x.high)}; }
#endif

}  // namespace REDLINE_ISA
}  // namespace redline

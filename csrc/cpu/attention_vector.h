// Sixteen floats at a time for attention: one register of AVX-512 or two of AVX2, with the same bits.
//
// load16() of a format with scales returns codes: integers, or numbers of fp8 over Format<fp8>::kUnit, which is what
// their bits are as half precision. (An fp8 NaN reads as a number; kv_store never writes one.)
#pragma once
#include "kv_format.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {

constexpr int64_t kWide = 16;

#if REDLINE_ISA_avx2
// Sixteen fp8 as halves that are 2^8 times smaller: the exponent of a half has one bit more, and its bias 8 more.
inline __m256i halves_of(const fp8* p) {
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<int16_t>(0xbfff)));
}
#endif

#if REDLINE_ISA_avx512
struct f32x16 {
  __m512 v;
};
inline f32x16 splat16(float s) { return {_mm512_set1_ps(s)}; }
inline f32x16 load16(const float* p) { return {_mm512_loadu_ps(p)}; }
inline f32x16 load16(const f16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline f32x16 load16(const bf16* p) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16))};
}
inline f32x16 load16(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline f32x16 load16(const fp8* p) { return {_mm512_cvtph_ps(halves_of(p))}; }
// The four bits from `shift` on of each byte.
inline f32x16 load16(const int4x2* p, int shift) {
  const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm512_permutexvar_ps(_mm512_srlv_epi32(bytes, _mm512_set1_epi32(shift)), codes)};  // reads four bits
}
inline void store16(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
inline f32x16 operator+(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline bool any_above(f32x16 a, float limit) {
  return _mm512_cmp_ps_mask(a.v, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
}
// `yes` in the lanes [begin, end), which may lie outside of the sixteen.
inline f32x16 select_lanes(int64_t begin, int64_t end, f32x16 yes, f32x16 no) {
  const uint32_t below_end = end >= kWide ? 0xffff : end <= 0 ? 0 : (1u << end) - 1;
  const uint32_t below_begin = begin >= kWide ? 0xffff : begin <= 0 ? 0 : (1u << begin) - 1;
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(below_end & ~below_begin), no.v, yes.v)};
}
inline f32x8 low_half(f32x16 a) { return {_mm512_castps512_ps256(a.v)}; }
inline f32x8 high_half(f32x16 a) { return {_mm512_extractf32x8_ps(a.v, 1)}; }
#else
struct f32x16 {
  f32x8 low, high;
};
inline f32x16 splat16(float s) { return {splat(s), splat(s)}; }
inline f32x16 load16(const float* p) { return {load(p), load(p + 8)}; }
inline f32x16 load16(const f16* p) { return {load_half(&p->bits), load_half(&p[8].bits)}; }
#if REDLINE_ISA_avx2
inline f32x16 widen16(__m128i codes) {
  return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))},
          {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))}};
}
inline f32x8 load8(const bf16* p) {
  const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16))};
}
inline f32x16 load16(const bf16* p) { return {load8(p), load8(p + 8)}; }
inline f32x16 load16(const int8_t* p) { return widen16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline f32x16 load16(const fp8* p) {
  const __m256i halves = halves_of(p);
  return {{_mm256_cvtph_ps(_mm256_castsi256_si128(halves))}, {_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))}};
}
inline f32x16 load16(const int4x2* p, int shift) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i codes = _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(15));
  return widen16(_mm_sub_epi8(codes, _mm_set1_epi8(8)));
}
#else
template <typename Read>
f32x16 each16(const Read& read) {
  f32x16 r;
  for (int i = 0; i < kLanes; ++i) r.low.v[i] = read(i);
  for (int i = 0; i < kLanes; ++i) r.high.v[i] = read(i + kLanes);
  return r;
}
inline f32x16 load16(const bf16* p) {
  return each16([p](int i) { return widen(p[i]); });
}
inline f32x16 load16(const int8_t* p) {
  return each16([p](int i) { return static_cast<float>(p[i]); });
}
inline f32x16 load16(const fp8* p) {
  return each16([p](int i) { return from_half((p[i].bits & 0x80) << 8 | (p[i].bits & 0x7f) << 7); });
}
inline f32x16 load16(const int4x2* p, int shift) {
  return each16([p, shift](int i) { return static_cast<float>((p[i].bits >> shift & 15) - 8); });
}
#endif
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
inline bool any_above(f32x16 a, float limit) {
  return any(less(splat(limit), a.low)) || any(less(splat(limit), a.high));
}
inline f32x16 select_lanes(int64_t begin, int64_t end, f32x16 yes, f32x16 no) {
  alignas(32) static constexpr float kLane[kWide] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const f32x8 first = splat(static_cast<float>(begin)), behind = splat(static_cast<float>(end));
  const auto choose = [&](f32x8 lane, f32x8 y, f32x8 n) {
    return select(less(lane, first), n, select(less(lane, behind), y, n));
  };
  return {choose(load(kLane), yes.low, no.low), choose(load(kLane + kLanes), yes.high, no.high)};
}
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

// 2^x within 2 ulp for x below 127: exactly 1 at 0, exactly 0 below -125, NaN for NaN.
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

// Sums of products of 16-bit factors and 8-bit codes, four at a time, on whatever the instruction set has. All of
// them are exact.
#pragma once
#include "attention_tile.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kQuad = Format<int8_t>::kQuad;

// What fits the registers.
#if REDLINE_ISA_avx512
constexpr int kCodeColumns = 2, kCodeRows = 4;
#else
constexpr int kCodeColumns = 1, kCodeRows = 2;
#endif

// Factors are two bytes each: those of AVX-512, whose instruction takes bytes, are the upper bytes of a quad and then
// its lower ones. The lower byte of a signed factor is signed, too, which its upper one allows for.
constexpr int64_t kQuadBytes = 2 * kQuad;
constexpr int64_t kLargestSigned = 127 * 256, kLargestUnsigned = INT16_MAX;

#if REDLINE_ISA_avx512
template <bool Signed>
void store_factors(uint8_t* to, f32x16 x) {
  const __m512i n = _mm512_cvtps_epi32(x.v);
  const __m128i lower = _mm512_cvtepi32_epi8(n);
  const __m512i rest = Signed ? _mm512_add_epi32(n, _mm512_set1_epi32(128)) : n;
  const __m128i upper = _mm512_cvtepi32_epi8(_mm512_srai_epi32(rest, 8));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(upper, lower));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + 1, _mm_unpackhi_epi32(upper, lower));
}

// The instruction multiplies unsigned bytes by signed ones. Codes for signed factors are taken as code + 128, which
// adds 128 times the sum of the factors: an offset per row takes it out.
struct IntCodes {
  __m512i v;
};
template <bool Signed>
IntCodes load_codes(const int8_t* p, int) {
  const __m512i codes = _mm512_loadu_si512(p);
  return {Signed ? _mm512_xor_si512(codes, _mm512_set1_epi8(-128)) : codes};
}
template <bool Signed>
int32_t offset_of(const uint8_t* row, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; Signed && i < count * 2; ++i)
    sum += static_cast<int8_t>(row[i]) * (i % kQuadBytes < kQuad ? 256 : 1);
  return -128 * sum;
}

// Of the upper bytes and of the lower ones.
constexpr int kSums = 2;
struct IntSum {
  __m512i v;
};
inline IntSum no_sum() { return {_mm512_setzero_si512()}; }
inline int64_t bytes_before(int part) { return part * kQuad; }
template <bool Signed>
IntSum add(IntSum sum, IntCodes codes, const uint8_t* quad) {
  int32_t bytes;
  std::memcpy(&bytes, quad, sizeof bytes);
  const __m512i factors = _mm512_set1_epi32(bytes);
  // The intrinsic has GCC 12 copy every sum once per step of a loop.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(Signed ? codes.v : factors), "v"(Signed ? factors : codes.v));
  return sum;
}
inline f32x16 total(const IntSum* sums, int32_t offset) {
  const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(sums[0].v, 8), sums[1].v);
  return {_mm512_cvtepi32_ps(_mm512_add_epi32(sum, _mm512_set1_epi32(offset)))};
}

// The largest magnitude, or NaN where there is one: as integers, NaN is larger than all numbers.
inline float largest_magnitude(const float* x, Range range) {
  __m512i largest = _mm512_setzero_si512();
  for (int64_t i = range.begin; i < range.end; i += kWide)
    largest = _mm512_max_epi32(largest, _mm512_and_si512(_mm512_loadu_si512(x + i), _mm512_set1_epi32(INT32_MAX)));
  return from_bits(static_cast<uint32_t>(_mm512_reduce_max_epi32(largest)));
}
#else
template <bool Signed>
int32_t offset_of(const uint8_t*, int64_t) {
  return 0;
}
#if REDLINE_ISA_avx2
template <bool Signed>
void store_factors(uint8_t* to, f32x16 x) {
  const __m256i n = _mm256_packs_epi32(_mm256_cvtps_epi32(x.low.v), _mm256_cvtps_epi32(x.high.v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(n, 0xd8));
}

// Four columns.
struct IntCodes {
  __m256i v;
};
template <bool Signed>
IntCodes load_codes(const int8_t* p, int part) {
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + part))};
}

// Of two products each, for as many columns.
constexpr int kSums = 4;
struct IntSum {
  __m256i v;
};
inline IntSum no_sum() { return {_mm256_setzero_si256()}; }
inline int64_t bytes_before(int) { return 0; }
template <bool Signed>
IntSum add(IntSum sum, IntCodes codes, const uint8_t* quad) {
  int64_t factors;
  std::memcpy(&factors, quad, sizeof factors);
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(codes.v, _mm256_set1_epi64x(factors)))};
}
inline f32x8 eight(IntSum a, IntSum b) {
  return {_mm256_cvtepi32_ps(_mm256_permute4x64_epi64(_mm256_hadd_epi32(a.v, b.v), 0xd8))};
}
inline f32x16 total(const IntSum* sums, int32_t) {
  return {eight(sums[0], sums[1]), eight(sums[2], sums[3])};
}
#else
template <bool Signed>
void store_factors(uint8_t* to, f32x16 x) {
  float values[kWide];
  store16(values, x);
  for (int64_t j = 0; j < kWide; ++j) {
    const int16_t n = values[j] == values[j] ? static_cast<int16_t>(std::nearbyint(values[j])) : 0;
    std::memcpy(to + 2 * j, &n, sizeof n);
  }
}

struct IntCodes {
  const int8_t* p;
};
template <bool Signed>
IntCodes load_codes(const int8_t* p, int) {
  return {p};
}

constexpr int kSums = 1;
struct IntSum {
  int32_t v[kWide];
};
inline IntSum no_sum() { return {}; }
inline int64_t bytes_before(int) { return 0; }
template <bool Signed>
IntSum add(IntSum sum, IntCodes codes, const uint8_t* quad) {
  int16_t factors[kQuad];
  std::memcpy(factors, quad, sizeof factors);
  for (int64_t j = 0; j < kWide * kQuad; ++j) sum.v[j / kQuad] += codes.p[j] * factors[j % kQuad];
  return sum;
}
inline f32x16 total(const IntSum* sums, int32_t) {
  return each16([sums](int i) { return static_cast<float>(sums[0].v[i]); });
}
#endif

inline float largest_magnitude(const float* x, Range range) {
  uint32_t largest = 0;
  for (int64_t i = range.begin; i < range.end; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= INT32_MAX;
    largest = bits > largest ? bits : largest;
  }
  return from_bits(largest);
}
#endif

// Rows of factors with one unit each: a number is its factor times the unit of its row.
class Factors {
 public:
  Factors(Buffer& buffer, int64_t rows, int64_t count)
      : count(count), units(buffer.need(rows * (2 + count / 2))), offsets(reinterpret_cast<int32_t*>(units + rows)),
        factors_(reinterpret_cast<uint8_t*>(offsets + rows)) {}

  const uint8_t* row(int64_t r) const { return factors_ + r * count * 2; }

  // Factors [range.begin, range.end) of row r, multiples of sixteen, at most `largest`. NaN and infinity make the
  // whole row NaN.
  template <bool Signed>
  void set(int64_t r, const float* x, Range range, int64_t largest) {
    const float magnitude = largest_magnitude(x, range), steps = static_cast<float>(largest);
    const f32x16 inverse = splat16(magnitude > kTiny ? steps / magnitude : 0.0f);
    uint8_t* row = factors_ + r * count * 2;
    for (int64_t i = range.begin; i < range.end; i += kWide)
      store_factors<Signed>(row + 2 * i, load16(x + i) * inverse);
    units[r] = magnitude / steps + magnitude * 0.0f;
    offsets[r] = offset_of<Signed>(row, count);
  }

  const int64_t count;  // of a row
  float* const units;
  int32_t* const offsets;

 private:
  static constexpr float kTiny = 1e-34f;  // what is below has no inverse
  uint8_t* const factors_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

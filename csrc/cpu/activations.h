// Activations of the integer matmuls: each row is quantised per group of kGroup inputs to
//   code = nearest_even(x * (most / amax)),  x ~ code * scale,  scale = amax / most
// in float32, so that the products with integer weights can be summed exactly. `most` is 127 in one plane of
// 8 bits. In two planes it is 127 * 256: code = 256 * high + low, both of 8 bits, and the sum of products is
// 256 * (sum with high) + (sum with low), still exact in 32 bits. A group whose amax is not finite gets
// codes 0 and that scale, which makes the row NaN; one below kSmallest is zero.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/int_layout.h"
#include "cpu/matmul_loop.h"
#include "cpu/numbers.h"
#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

constexpr float kSmallest = 1e-30f;
constexpr float kLargest = 3.402823466e38f;

// Rows of quantised activations; everything the inner loops need, worked out once per call.
struct Activations {
  int8_t* codes;         // [row][groups][planes][kGroup], the high plane first (but see pair_planes())
  float* scales;         // [row][groups]
  float* scaled_sums;    // [row][groups * kGroup / weight group]: scale * sum of codes, for a weight's min
  int32_t* corrections;  // [row][groups * kGroup / weight group]: -offset * sum of codes
  int64_t groups;
};

// Magnitudes are compared as integers: the order is the same, and NaN is above infinity.
#if REDLINE_ISA_avx2
struct GroupValues {
  __m256 v[4];
};

// Inputs beyond `count` are zero.
inline GroupValues load_group(const float* x, int64_t count) {
  alignas(32) float padded[kGroup];
  if (count < kGroup) {
    std::fill(std::copy(x, x + count, padded), padded + kGroup, 0.0f);
    x = padded;
  }
  return {{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16), _mm256_loadu_ps(x + 24)}};
}

inline float group_amax(const GroupValues& x) {
  __m256i most = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i)
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(x.v[i]), _mm256_set1_epi32(0x7fffffff)));
  __m128i half = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
  return from_bits(static_cast<uint32_t>(_mm_cvtsi128_si32(half)));
}

inline void store_bytes(const __m256i (&values)[4], int8_t* codes) {
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(values[0], values[1]),
                                           _mm256_packs_epi32(values[2], values[3]));
  // The packs work within halves of 128 bits; this puts the quads back into their order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm256_permutevar8x32_epi32(bytes, order));
}

inline void round_group(const GroupValues& x, float inverse, int planes, int8_t* codes) {
  __m256i rounded[4], low[4];
  for (int i = 0; i < 4; ++i)
    rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x.v[i], _mm256_set1_ps(inverse)));
  if (planes == 2) {
    for (int i = 0; i < 4; ++i) {
      const __m256i high = _mm256_srai_epi32(_mm256_add_epi32(rounded[i], _mm256_set1_epi32(128)), 8);
      low[i] = _mm256_sub_epi32(rounded[i], _mm256_slli_epi32(high, 8));
      rounded[i] = high;
    }
    store_bytes(low, codes + kGroup);
  }
  store_bytes(rounded, codes);
}

// The sums of the first and the last 16 codes.
inline void sum_codes(const int8_t* codes, int32_t* first, int32_t* last) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), all);
  const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  const auto total = [](__m128i four) {
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
  };
  *first = total(_mm256_castsi256_si128(quads));
  *last = total(_mm256_extracti128_si256(quads, 1));
}
#else
struct GroupValues {
  float v[kGroup];
};

inline GroupValues load_group(const float* x, int64_t count) {
  GroupValues values = {};
  std::copy(x, x + count, values.v);
  return values;
}

inline float group_amax(const GroupValues& x) {
  uint32_t most = 0;
  for (float value : x.v) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    most = std::max(most, bits & 0x7fffffff);
  }
  return from_bits(most);
}

inline void round_group(const GroupValues& x, float inverse, int planes, int8_t* codes) {
  for (int64_t i = 0; i < kGroup; ++i) {
    const int32_t code = static_cast<int32_t>(std::lrintf(x.v[i] * inverse));
    const int32_t high = planes == 2 ? (code + 128) >> 8 : code;
    codes[i] = static_cast<int8_t>(high);
    if (planes == 2) codes[kGroup + i] = static_cast<int8_t>(code - 256 * high);
  }
}

inline void sum_codes(const int8_t* codes, int32_t* first, int32_t* last) {
  *first = *last = 0;
  for (int i = 0; i < 16; ++i) {
    *first += codes[i];
    *last += codes[16 + i];
  }
}
#endif

#if REDLINE_ISA_avx2 && !REDLINE_ISA_avx512
// Joins the planes of a group to codes of 16 bits, as the tile of AVX2 takes them: inputs 0, 2, 1, 3 of each quad.
inline void pair_planes(int8_t* codes) {
  __m256i* at = reinterpret_cast<__m256i*>(codes);
  const __m256i high = _mm256_loadu_si256(at), low = _mm256_loadu_si256(at + 1);
  const __m256i signed_even = _mm256_srai_epi16(_mm256_slli_epi16(low, 8), 8);
  const __m256i even = _mm256_add_epi16(_mm256_slli_epi16(high, 8), signed_even);
  const __m256i high_odd = _mm256_andnot_si256(_mm256_set1_epi16(255), high);
  const __m256i odd = _mm256_add_epi16(high_odd, _mm256_srai_epi16(low, 8));
  const __m256i first = _mm256_unpacklo_epi32(even, odd), second = _mm256_unpackhi_epi32(even, odd);
  _mm256_storeu_si256(at, _mm256_permute2x128_si256(first, second, 0x20));
  _mm256_storeu_si256(at + 1, _mm256_permute2x128_si256(first, second, 0x31));
}
#endif

// Returns the scale.
inline float quantise_group(const float* x, int64_t count, int planes, int8_t* codes) {
  const GroupValues values = load_group(x, count);
  const float amax = group_amax(values), most = planes == 2 ? 127.0f * 256.0f : 127.0f;
  if (amax >= kSmallest && amax <= kLargest) {
    round_group(values, most / amax, planes, codes);
    return amax / most;
  }
  std::memset(codes, 0, kGroup * planes);
  return amax < kSmallest ? 0.0f : amax;
}

inline void quantise_row(const float* x, const IntMatrix& w, const Activations& a, int64_t row) {
  const int64_t cell = kGroup * w.planes;
  int8_t* codes = a.codes + row * a.groups * cell;
  const int64_t parts = kGroup / w.group;
  int32_t* corrections = a.corrections + row * a.groups * parts;
  float* scaled_sums = a.scaled_sums + row * a.groups * parts;
  for (int64_t g = 0; g < a.groups; ++g, codes += cell) {
    const int64_t count = std::min(kGroup, w.inputs - g * kGroup);
    const float scale = quantise_group(x + g * kGroup, count, w.planes, codes);
    int32_t first, last;
    sum_codes(codes, &first, &last);
    if (w.planes == 2) {
      int32_t low_first, low_last;
      sum_codes(codes + kGroup, &low_first, &low_last);
      first = 256 * first + low_first;
      last = 256 * last + low_last;
    }
    a.scales[row * a.groups + g] = scale;
    if (parts == 1) {
      scaled_sums[g] = scale * static_cast<float>(first + last);
      corrections[g] = -w.offset * (first + last);
    } else {
      scaled_sums[2 * g] = scale * static_cast<float>(first);
      scaled_sums[2 * g + 1] = scale * static_cast<float>(last);
      corrections[2 * g] = -w.offset * first;
      corrections[2 * g + 1] = -w.offset * last;
    }
#if REDLINE_ISA_avx2 && !REDLINE_ISA_avx512
    if (w.planes == 2) pair_planes(codes);
#endif
  }
}

inline int64_t bytes_per_row(const IntMatrix& w) {
  return ceil_div(w.inputs, kGroup) * (kGroup * w.planes + 4 + 8 + 8);
}

inline Activations allocate_activations(const IntMatrix& w, int64_t rows) {
  const int64_t groups = ceil_div(w.inputs, kGroup), cells = rows * groups;
  uint8_t* memory = scratch<kRowsScratch>(rows * bytes_per_row(w));
  Activations a;
  a.groups = groups;
  a.codes = reinterpret_cast<int8_t*>(memory);
  a.scales = reinterpret_cast<float*>(memory + cells * kGroup * w.planes);
  a.scaled_sums = a.scales + cells;
  a.corrections = reinterpret_cast<int32_t*>(a.scaled_sums + cells * (kGroup / w.group));
  return a;
}

}  // namespace REDLINE_ISA
}  // namespace redline

// The unit of each output of an IntMatrix, for the fixed-point kernels (see int_fixed.h).
#include "cpu/declare.h"

#if REDLINE_ISA_amx
#include "cpu/matmul_int.h"
#endif

namespace redline {
namespace REDLINE_ISA {

#if REDLINE_ISA_amx
namespace {

// The least and the greatest of code - offset.
struct Codes {
  float least, greatest;

  explicit Codes(const IntMatrix& w) : least(0.0f), greatest(static_cast<float>((1 << w.bits) - 1)) {
    if (w.codebook) {
      const auto ends = std::minmax_element(w.codebook, w.codebook + 16);
      least = *ends.first;
      greatest = *ends.second;
    }
    least -= static_cast<float>(w.offset);
    greatest -= static_cast<float>(w.offset);
  }
};

// Magnitudes are integers, so that NaN is above all.
__m512i magnitude(__m512 value) {
  return _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(0x7fffffff));
}

// The largest magnitude that any code gives.
__m512i largest_weight(__m512 scale, __m512 min, const Codes& codes) {
  return _mm512_max_epi32(magnitude(_mm512_fmadd_ps(scale, _mm512_set1_ps(codes.least), min)),
                          magnitude(_mm512_fmadd_ps(scale, _mm512_set1_ps(codes.greatest), min)));
}

// The smallest power of two with which `most` does not exceed the limit; NaN where it is not finite.
float unit_for(float most, float limit) {
  if (!(most <= kLargest)) return __builtin_nanf("");
  int exponent;
  std::frexp(std::max(most / limit, kSmallest), &exponent);
  return std::ldexp(1.0f, exponent);
}

template <typename Scales>
void find_units(const IntMatrix& w, Scales s, float* units) {
  const int64_t groups = ceil_div(w.inputs, kGroup) * kGroup / w.group, bytes = s.bytes(groups);
  const Codes codes(w);
  const int planes = w.bits <= 5 && !w.codebook ? 2 : 3;
  const bool products = planes == 3 && !w.mins;
  const float limit = products ? kMostScale : most_fixed(planes);
  parallel_for(ceil_div(w.outputs, kBlock), 64, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const uint8_t* scales = static_cast<const uint8_t*>(w.scales) + block * bytes;
      const uint8_t* mins = w.mins ? static_cast<const uint8_t*>(w.mins) + block * bytes : nullptr;
      __m512i most = _mm512_setzero_si512();
      for (int64_t g = 0; g < groups; ++g) {
        const __m512 scale = load_scales_16(s, scales, g);
        const __m512 min = mins ? load_scales_16(s, mins, g) : _mm512_setzero_ps();
        most = _mm512_max_epi32(most, products ? magnitude(scale) : largest_weight(scale, min, codes));
      }
      alignas(64) float each[kBlock];
      _mm512_store_ps(each, _mm512_castsi512_ps(most));
      for (int lane = 0; lane < kBlock; ++lane) units[block * kBlock + lane] = unit_for(each[lane], limit);
    }
  });
}

}  // namespace

void int_units(const IntMatrix& w, float* units) {
  switch (w.scale_type) {
    case ScaleType::f32: return find_units(w, PlainScales<float, true>(), units);
    case ScaleType::f16: return find_units(w, PlainScales<f16, true>(), units);
    case ScaleType::nested4: return find_units(w, NestedScales<4, true, 16>(), units);
    case ScaleType::nested8:
      if (w.group == 16) return find_units(w, NestedScales<8, true, 16>(), units);
      return find_units(w, NestedScales<8, true, 32>(), units);
  }
}
#endif

}  // namespace REDLINE_ISA
}  // namespace redline

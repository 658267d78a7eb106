// Weights of the integer formats in fixed point, the arithmetic of the AMX kernels:
//   weight ~ unit * (s * (code - offset) + m),  s = round(scale / unit),  m = round(min / unit)
// with one unit, a power of two, per output. What is in the brackets is an integer of kWeightPlanes bytes.
//
// Activations are 16-bit integers with one scale per row, so a row times an output is an integer of less than
// 2^53, and any way to compute it gives the same one: products of whole weights on tiles for many rows, or
// sums of codes scaled group by group for few. Where 8 bits per group of activations would be the largest error
// (see activations.h), this one is far below that of the codes.
#pragma once
#include <immintrin.h>

#include "cpu/amx.h"
#include "cpu/int_quads.h"
#include "cpu/matmul_loop.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Bytes of a fixed-point weight: codes of many bits leave few to the scale.
template <typename F>
constexpr int kWeightPlanes = F::kCodeBits <= 5 ? 2 : 3;

// The largest magnitude before rounding; the upper byte stays within a signed one after it.
constexpr float most_fixed(int planes) { return planes == 2 ? 127.0f * 256 : 127.0f * 65536; }
// Weights of three bytes without mins are products of two numbers of 16 bits: this is the largest scale there.
constexpr float kMostScale = 32767.0f;

// The scales and mins of one block as integers.
template <typename F>
class FixedScales {
 public:
  FixedScales(const IntMatrix& w, int64_t block, int64_t scale_groups)
      : unit_(_mm512_loadu_ps(w.units + block * kBlock)), inverse_(inverse_of(unit_)) {
    const int64_t at = block * F::Scales::bytes(scale_groups);
    scales_ = static_cast<const uint8_t*>(w.scales) + at;
    mins_ = F::kMins ? static_cast<const uint8_t*>(w.mins) + at : nullptr;
  }

  __m512 unit() const { return unit_; }
  __m512i scale(int64_t group) const { return fixed(load_scales_16(typename F::Scales(), scales_, group)); }
  __m512i min(int64_t group) const { return fixed(load_scales_16(typename F::Scales(), mins_, group)); }

 private:
  // Of powers of two, by their exponents. NaN, the unit of what is not finite, makes NaN of any result.
  static __m512 inverse_of(__m512 unit) {
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(254 << 23), _mm512_castps_si512(unit)));
  }
  __m512i fixed(__m512 values) const { return _mm512_cvtps_epi32(_mm512_mul_ps(values, inverse_)); }

  __m512 unit_, inverse_;
  const uint8_t *scales_, *mins_;
};

// Turns the cells of one block into the planes of its fixed-point weights, the highest first, as tiles of 16 quads of
// 16 outputs: two cells side by side.
template <typename F>
class WeightPlanes {
 public:
  static constexpr int kPlanes = kWeightPlanes<F>;

  WeightPlanes(const IntMatrix& w, int64_t block, int64_t groups)
      : quads_(w), scales_(w, block, groups * F::kParts), offset_(_mm512_set1_epi32(w.offset)),
        offset_bytes_(_mm512_set1_epi8(static_cast<char>(w.offset))),
        cells_(w.codes + block * groups * kCellBytes<F::kBits>), groups_(groups) {}

  // A tile is built in kSteps steps of two quads, so that other work fits in between.
  static constexpr int kSteps = 8;

  // The scale and what is added of the group that the last step was in.
  struct Terms {
    __m512i scale = _mm512_setzero_si512(), shift = _mm512_setzero_si512();
  };

  // Step `step` of the planes of cells 2t and 2t + 1, one tile behind the other; zeros for a cell that does not exist.
  [[gnu::always_inline]] void build_step(int64_t t, int step, uint8_t* to, Terms& terms) const {
    const int64_t group = 2 * t + step / (kSteps / 2);
    const int quad = 2 * step % kQuads;
    to += 2 * 64 * step;
    if (group >= groups_) {
      for (int p = 0; p < kPlanes; ++p) std::memset(to + p * kTileBytes, 0, 2 * 64);
      return;
    }
    const uint8_t* cell = cells_ + group * kCellBytes<F::kBits>;
    if (quad == 0) prefetch(cell, kCellBytes<F::kBits>);
    if (quad % (kQuads / F::kParts) == 0) terms = terms_of(group * F::kParts + quad * F::kParts / kQuads);
    build_quad(cell, quad, terms, to);
    build_quad(cell, quad + 1, terms, to + 64);
  }

  void build(int64_t t, uint8_t* to) const {
    Terms terms;
#pragma GCC unroll 8
    for (int step = 0; step < kSteps; ++step) build_step(t, step, to, terms);
  }

 private:
  [[gnu::always_inline]] Terms terms_of(int64_t scale_group) const {
    const __m512i scale = scales_.scale(scale_group);
    __m512i shift = F::kMins ? scales_.min(scale_group) : _mm512_setzero_si512();
    if constexpr (F::kCorrected) shift = _mm512_sub_epi32(shift, _mm512_mullo_epi32(scale, offset_));
    if constexpr (kPlanes == 2) return {both_halves(scale), both_halves(shift)};
    else if constexpr (!F::kMins) return {both_halves(scale), shift};
    else return {scale, shift};
  }

  [[gnu::always_inline]] void build_quad(const uint8_t* cell, int quad, const Terms& terms, uint8_t* to) const {
    const __m512i codes = quads_(cell, quad);
    if constexpr (kPlanes == 2) build_words(codes, terms.scale, terms.shift, to);
    else if constexpr (!F::kMins) build_products(_mm512_sub_epi8(codes, offset_bytes_), terms.scale, to);
    else build_longs(codes, terms.scale, terms.shift, to);
  }

  static __m512i both_halves(__m512i v) {
    const __m512i low = _mm512_and_si512(v, _mm512_set1_epi32(0xffff));
    return _mm512_or_si512(low, _mm512_slli_epi32(v, 16));
  }

  // Weights of 16 bits, two of a lane's four at a time. With half a unit of the upper byte added, that byte is
  // rounded, and the lower one, which is then signed, has its top bit turned.
  static void build_words(__m512i codes, __m512i scale, __m512i shift, uint8_t* to) {
    const __m512i low_bytes = _mm512_set1_epi16(0xff), half = _mm512_set1_epi16(0x80);
    const __m512i rounded = _mm512_add_epi16(shift, half);
    const auto weights = [&](__m512i c) { return _mm512_add_epi16(_mm512_mullo_epi16(c, scale), rounded); };
    const __m512i even = weights(_mm512_and_si512(codes, low_bytes)), odd = weights(_mm512_srli_epi16(codes, 8));
    constexpr int kSelect = 0xca;  // a ? b : c
    const __m512i high = _mm512_ternarylogic_epi32(low_bytes, _mm512_srli_epi16(even, 8), odd, kSelect);
    const __m512i low = _mm512_ternarylogic_epi32(low_bytes, even, _mm512_slli_epi16(odd, 8), kSelect);
    _mm512_store_si512(to, high);
    _mm512_store_si512(to + kTileBytes, _mm512_xor_si512(low, _mm512_set1_epi8(static_cast<char>(0x80))));
  }

  // Products of 24 bits, of signed codes and scales, two of a lane's four at a time: lower and upper words. Adding half
  // of what the byte above counts to each byte may carry into the upper word.
  static void build_products(__m512i codes, __m512i scale, uint8_t* to) {
    const __m512i low_bytes = _mm512_set1_epi16(0xff), turned = _mm512_set1_epi16(static_cast<short>(0x8080));
    __m512i lower[2], upper[2];
    const __m512i halves[2] = {_mm512_srai_epi16(_mm512_slli_epi16(codes, 8), 8), _mm512_srai_epi16(codes, 8)};
    for (int i = 0; i < 2; ++i) {
      lower[i] = _mm512_add_epi16(_mm512_mullo_epi16(halves[i], scale), turned);
      const __mmask32 carries = _mm512_cmplt_epu16_mask(lower[i], turned);
      const __m512i high = _mm512_mulhi_epi16(halves[i], scale);
      upper[i] = _mm512_mask_sub_epi16(high, carries, high, _mm512_set1_epi16(-1));
    }
    constexpr int kSelect = 0xca;  // a ? b : c
    const __m512i low = _mm512_ternarylogic_epi32(low_bytes, lower[0], _mm512_slli_epi16(lower[1], 8), kSelect);
    const __m512i middle = _mm512_ternarylogic_epi32(low_bytes, _mm512_srli_epi16(lower[0], 8), lower[1], kSelect);
    const __m512i high = _mm512_ternarylogic_epi32(low_bytes, upper[0], _mm512_slli_epi16(upper[1], 8), kSelect);
    _mm512_store_si512(to, high);
    _mm512_store_si512(to + kTileBytes, _mm512_xor_si512(middle, turned));
    _mm512_store_si512(to + 2 * kTileBytes, _mm512_xor_si512(low, turned));
  }

  // Weights of 24 bits, one of a lane's four at a time.
  static void build_longs(__m512i codes, __m512i scale, __m512i shift, uint8_t* to) {
    const __m512i byte = _mm512_set1_epi32(0xff), turned = _mm512_set1_epi32(0x8080);
    const __m512i rounded = _mm512_add_epi32(shift, turned);
    __m512i planes[3] = {};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i code = _mm512_and_si512(_mm512_srli_epi32(codes, 8 * i), byte);
      const __m512i weight = _mm512_xor_si512(_mm512_add_epi32(_mm512_mullo_epi32(code, scale), rounded), turned);
#pragma GCC unroll 3
      for (int p = 0; p < 3; ++p) {
        const __m512i its_byte = _mm512_and_si512(_mm512_srli_epi32(weight, 16 - 8 * p), byte);
        planes[p] = _mm512_or_si512(planes[p], _mm512_slli_epi32(its_byte, 8 * i));
      }
    }
#pragma GCC unroll 3
    for (int p = 0; p < 3; ++p) _mm512_store_si512(to + p * kTileBytes, planes[p]);
  }

  Quads<F> quads_;
  FixedScales<F> scales_;
  __m512i offset_, offset_bytes_;
  const uint8_t* cells_;
  int64_t groups_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// The tile in plain C++: any processor.
#pragma once
#include "cpu/int_quads.h"
#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// The exact sum of the products of one lane over the scale group that is part `part` of a cell.
template <typename F>
inline int32_t sum_part(const IntMatrix& w, const uint8_t* cell, int64_t lane, const int8_t* x, int part) {
  constexpr int kCount = kQuads / F::kParts;
  int32_t sum = 0;
  for (int quad = part * kCount; quad < (part + 1) * kCount; ++quad) {
    uint8_t codes[4];
    const uint32_t word = lane_quad<F>(w, cell, lane, quad);
    std::memcpy(codes, &word, sizeof codes);
    for (int i = 0; i < 4; ++i) {
      const int8_t* activation = x + 4 * quad + i;
      sum += codes[i] * (F::kPlanes == 2 ? 256 * activation[0] + activation[kGroup] : activation[0]);
    }
  }
  return sum;
}

template <typename F, int kRows>
void multiply(const Tile& t) {
  static_assert(kRows == 1, "x is read without a stride");
  const TileData<F> d(t);
  float acc[kBlock] = {};
  for (int64_t g = 0; g < d.groups; ++g)
    for (int part = 0; part < F::kParts; ++part) {
      const int64_t s = g * F::kParts + part;
      for (int64_t lane = 0; lane < kBlock; ++lane) {
        const int32_t sum = sum_part<F>(t.w, d.cells + g * kCellBytes<F::kBits>, lane,
                                        d.x + g * kGroup * F::kPlanes, part);
        const float scale = scale_at(typename F::Scales(), d.scales, s, lane) * d.x_scales[g];
        const int32_t correction = F::kCorrected ? d.corrections[s] : 0;
        acc[lane] = fma(scale, static_cast<float>(sum + correction), acc[lane]);
        if (F::kMins) acc[lane] = fma(scale_at(typename F::Scales(), d.mins, s, lane), d.x_sums[s], acc[lane]);
      }
    }
  for (int64_t lane = 0; lane < t.lanes; ++lane) t.y[lane] = acc[lane];
}
constexpr int kTileRows = 1;

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

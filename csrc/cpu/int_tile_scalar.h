// The tile in plain C++: any processor.
#pragma once
#include "cpu/int_format.h"
#include "simd.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

template <typename F, int kRows>
void multiply(const Tile& t) {
  using Scale = typename F::Scale;
  const int64_t groups = t.a.groups, scale_groups = groups * F::kParts;
  const Scale* scales = static_cast<const Scale*>(t.w.scales) + t.block * scale_groups * kBlock;
  const Scale* mins = static_cast<const Scale*>(t.w.mins) + (F::kMins ? t.block * scale_groups * kBlock : 0);
  for (int r = 0; r < kRows; ++r) {
    const int8_t* x = t.a.codes + (t.row + r) * groups * kGroup * F::kPlanes;
    const uint8_t* cell = t.w.codes + t.block * groups * kCellBytes<F::kBits>;
    float acc[kBlock] = {};
    for (int64_t g = 0; g < scale_groups; ++g) {
      const int64_t row_group = (t.row + r) * groups + g / F::kParts;
      for (int64_t lane = 0; lane < kBlock; ++lane) {
        int32_t sum = t.a.corrections[(t.row + r) * scale_groups + g];
        for (int64_t i = 0; i < F::kScaleGroup; ++i) {
          const int64_t k = g % F::kParts * F::kScaleGroup + i;
          const int8_t* code = x + g / F::kParts * kGroup * F::kPlanes + k;
          const int32_t activation = F::kPlanes == 2 ? 256 * code[0] + code[kGroup] : code[0];
          sum += code_at(cell, F::kBits, lane, k) * activation;
        }
        const float scale = widen(scales[g * kBlock + lane]) * t.a.scales[row_group];
        acc[lane] = fma(scale, static_cast<float>(sum), acc[lane]);
        if (F::kMins) acc[lane] = fma(widen(mins[g * kBlock + lane]), t.a.scaled_sums[row_group], acc[lane]);
      }
      if (g % F::kParts == F::kParts - 1) cell += kCellBytes<F::kBits>;
    }
    for (int64_t lane = 0; lane < t.lanes; ++lane) t.y[r * t.y_stride + lane] = acc[lane];
  }
}
constexpr int kTileRows = 1;

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

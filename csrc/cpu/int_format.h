// What an integer matmul is specialised for, and one tile of its work.
#pragma once
#include "cpu/activations.h"
#include "cpu/int_layout.h"
#include "cpu/int_scales.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

template <int kBits_, bool kCodebook_, int kPlanes_, typename Scales_>
struct Format {
  static constexpr int kBits = kBits_;          // as stored
  static constexpr bool kCodebook = kCodebook_;  // the stored bits are an index
  static constexpr int kCodeBits = kCodebook_ ? 8 : kBits_;
  static constexpr int kPlanes = kPlanes_;
  using Scales = Scales_;
  static constexpr bool kMins = Scales::kMins;
  static constexpr int kScaleGroup = Scales::kGroup;
  static constexpr int kParts = kGroup / kScaleGroup;  // scale groups of a cell
  // Codes of fewer than 8 bits with mins have no offset, it is part of the min; the others may have one.
  static constexpr bool kCorrected = kCodeBits == 8 || !kMins;

  static bool fits(const IntMatrix& w) {
    return w.bits == kBits && (w.codebook != nullptr) == kCodebook && w.planes == kPlanes &&
           w.scale_type == Scales::kType && (w.mins != nullptr) == kMins && w.group == kScaleGroup;
  }
};

// y[row .. row + kRows, 16 outputs of a block]; only `lanes` of them exist.
struct Tile {
  const Activations& a;
  const IntMatrix& w;
  int64_t row, block;
  float* y;
  int64_t y_stride, lanes;
};

// What a tile of format F reads of its block and of its first row.
template <typename F>
struct TileData {
  int64_t groups, scale_groups, x_stride;
  const uint8_t *cells, *scales, *mins;
  const int8_t* x;
  const float *x_scales, *x_sums;
  const int32_t* corrections;

  explicit TileData(const Tile& t)
      : groups(t.a.groups), scale_groups(groups * F::kParts), x_stride(groups * kGroup * F::kPlanes) {
    const int64_t scales_at = t.block * F::Scales::bytes(scale_groups);
    cells = t.w.codes + t.block * groups * kCellBytes<F::kBits>;
    scales = static_cast<const uint8_t*>(t.w.scales) + scales_at;
    mins = F::kMins ? static_cast<const uint8_t*>(t.w.mins) + scales_at : nullptr;
    x = t.a.codes + t.row * x_stride;
    x_scales = t.a.scales + t.row * groups;
    x_sums = t.a.scaled_sums + t.row * scale_groups;
    corrections = t.a.corrections + t.row * scale_groups;
  }
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// What an integer matmul is specialised for, and one tile of its work.
#pragma once
#include "cpu/activations.h"
#include "cpu/int_layout.h"
#include "cpu/numbers.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

template <int kBits_, bool kMins_, typename Scale_, int kScaleGroup_ = 32, int kPlanes_ = 1>
struct Format {
  static constexpr int kPlanes = kPlanes_;
  static constexpr int kBits = kBits_;
  static constexpr bool kMins = kMins_;
  using Scale = Scale_;
  static constexpr int kScaleGroup = kScaleGroup_;
  static constexpr int kParts = kGroup / kScaleGroup_;
  // int4 codes with mins are stored without offset (see quant/int4.py), the others may have one.
  static constexpr bool kCorrected = kBits_ == 8 || !kMins_;
};

// y[row .. row + kRows, 16 outputs of a block]; only `lanes` of them exist.
struct Tile {
  const Activations& a;
  const IntMatrix& w;
  int64_t row, block;
  float* y;
  int64_t y_stride, lanes;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// What the files of this folder define, for table.cpp to gather.
#pragma once
#include <cstdint>

namespace redline {
namespace REDLINE_ISA {

void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t rows,
             int64_t dim);

}  // namespace REDLINE_ISA
}  // namespace redline

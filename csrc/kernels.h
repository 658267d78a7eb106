// The table of kernels: one per instruction set, the same fields in each. Raw pointers and sizes only;
// the wrappers in redline/ops/<op>/cpu.py check what is passed, nothing here does.
#pragma once
#include <cstdint>

namespace redline {

struct Kernels {
  const char* name;
  // y[r, :] = x[r, :] / rms(x[r, :]) * weight; x row r starts at x + r * x_stride.
  void (*rmsnorm)(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t rows,
                  int64_t dim);
};

// The table in use: the widest instruction set of this machine, or what select() asked for.
const Kernels& kernels();
// Returns false when this machine or build lacks `name`.
bool select(const char* name);

}  // namespace redline

#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/gates.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

template <typename Activation>
void gated(const float* x, int64_t x_stride, float* y, int64_t rows, int64_t dim, Activation activation) {
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    const float* gate = x + row * x_stride + i;
    store_upto(y + row * dim + i, n, activation(load_upto(gate, n)) * load_upto(gate + dim, n));
  });
}

}  // namespace

void gated_activation(Gate kind, const float* x, int64_t x_stride, float* y, int64_t rows, int64_t dim) {
  with_gate(kind, [=](auto activation) { gated(x, x_stride, y, rows, dim, activation); });
}

}  // namespace REDLINE_ISA
}  // namespace redline

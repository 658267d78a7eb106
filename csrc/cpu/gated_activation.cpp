#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "cpu/gates.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

template <typename Activation>
void gated(const float* gate, int64_t gate_stride, const float* up, int64_t up_stride, float* y, int64_t rows,
           int64_t dim, Activation activation) {
  elementwise(rows, dim, [=](int64_t row, int64_t i, int64_t n) {
    const f32x8 bent = activation(load_upto(gate + row * gate_stride + i, n));
    store_upto(y + row * dim + i, n, bent * load_upto(up + row * up_stride + i, n));
  });
}

}  // namespace

void gated_activation(Gate kind, const float* gate, int64_t gate_stride, const float* up, int64_t up_stride, float* y,
                      int64_t rows, int64_t dim) {
  with_gate(kind, [=](auto activation) { gated(gate, gate_stride, up, up_stride, y, rows, dim, activation); });
}

}  // namespace REDLINE_ISA
}  // namespace redline

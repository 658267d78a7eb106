#include <algorithm>

#include "cpu/declare.h"
#include "cpu/int_layout.h"
#include "cpu/numbers.h"
#include "simd.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Each output is one chain of multiply-adds in the order of k, on one row or many.
template <typename T>
void multiply(const float* x, const T* panel, int64_t inputs, float* y, int64_t lanes) {
  float acc[kBlock] = {};
  for (int64_t k = 0; k < inputs; ++k)
    for (int64_t lane = 0; lane < kBlock; ++lane) acc[lane] = fma(widen(panel[k * kBlock + lane]), x[k], acc[lane]);
  std::copy(acc, acc + lanes, y);
}

template <typename T>
void matmul(const float* x, int64_t x_stride, int64_t rows, const FloatMatrix& w, float* y) {
  parallel_for(ceil_div(w.outputs, kBlock), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (int64_t r = 0; r < rows; ++r)
        multiply(x + r * x_stride, static_cast<const T*>(w.data) + block * w.inputs * kBlock, w.inputs,
                 y + r * w.outputs + block * kBlock, std::min(kBlock, w.outputs - block * kBlock));
  });
}

template <typename T>
bool embedding(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= w.outputs) return false;
  parallel_for(count, 1 + 16384 / w.inputs, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* lane = static_cast<const T*>(w.data) + ids[i] / kBlock * w.inputs * kBlock + ids[i] % kBlock;
      for (int64_t k = 0; k < w.inputs; ++k) y[i * w.inputs + k] = widen(lane[k * kBlock]);
    }
  });
  return true;
}

template <typename T>
void pack(const uint8_t* rows, int64_t outputs, int64_t inputs, int64_t first, uint8_t* panels) {
  const T* from = reinterpret_cast<const T*>(rows);
  T* to = reinterpret_cast<T*>(panels);
  parallel_for(outputs, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* lane = to + (first + row) / kBlock * inputs * kBlock + (first + row) % kBlock;
      for (int64_t k = 0; k < inputs; ++k) std::memcpy(lane + k * kBlock, from + row * inputs + k, sizeof(T));
    }
  });
}

}  // namespace

void matmul_float(const float* x, int64_t x_stride, int64_t rows, const FloatMatrix& w, float* y) {
  if (w.type == FloatType::f32) return matmul<float>(x, x_stride, rows, w, y);
  if (w.type == FloatType::f16) return matmul<f16>(x, x_stride, rows, w, y);
  matmul<bf16>(x, x_stride, rows, w, y);
}

bool embedding_float(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y) {
  if (w.type == FloatType::f32) return embedding<float>(ids, count, w, y);
  if (w.type == FloatType::f16) return embedding<f16>(ids, count, w, y);
  return embedding<bf16>(ids, count, w, y);
}

void pack_float(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                uint8_t* panels) {
  if (size == 4) return pack<uint32_t>(rows, outputs, inputs, first, panels);
  pack<uint16_t>(rows, outputs, inputs, first, panels);
}

}  // namespace REDLINE_ISA
}  // namespace redline

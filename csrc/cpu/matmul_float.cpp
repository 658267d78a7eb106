#include <type_traits>

#include "cpu/declare.h"
#if REDLINE_ISA_amx
#include "cpu/matmul_float_amx.h"
#else
#include "cpu/matmul_float_vector.h"
#endif

namespace redline {
namespace REDLINE_ISA {
namespace {

#if REDLINE_ISA_amx
template <typename T>
using Format = std::conditional_t<std::is_same_v<T, float>, VectorMatmul<T>, TileMatmul<T>>;
#else
template <typename T>
using Format = VectorMatmul<T>;
#endif

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

void matmul_float(const MatmulInput& x, const FloatMatrix& w, const MatmulOutput& y) {
  if (w.type == FloatType::f32) return matmul<Format<float>>(x, w, y);
  if (w.type == FloatType::f16) return matmul<Format<f16>>(x, w, y);
  matmul<Format<bf16>>(x, w, y);
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

// What the files of this folder define, for table.cpp to gather.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t rows,
             int64_t dim);

void matmul_float(const float* x, int64_t x_stride, int64_t rows, const FloatMatrix& w, float* y);
void matmul_int8(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y);
void matmul_int4(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y);
bool embedding_float(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y);
bool embedding_int8(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
bool embedding_int4(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
void pack_float(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                uint8_t* panels);
bool pack_gguf(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
               const IntTarget& target);

}  // namespace REDLINE_ISA
}  // namespace redline

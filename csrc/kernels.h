// The table of kernels: one per instruction set, the same fields in each. Raw pointers and sizes only;
// the wrappers in redline/ops/<op>/cpu.py check what is passed, nothing here does.
#pragma once
#include <cstdint>

namespace redline {

// Packed weights interleave kBlock outputs, so that a vector lane is an output: every output sums its
// products in the order of k, and neither the number of rows nor the instruction set changes that order.
constexpr int64_t kBlock = 16;
// Integer codes are stored, and activations quantised, in groups of kGroup inputs.
constexpr int64_t kGroup = 32;

enum class FloatType : int { f32, f16, bf16 };

// One matrix [outputs, inputs] of floats: data[block][k][lane], lanes beyond `outputs` are zero.
struct FloatMatrix {
  const void* data;
  FloatType type;
  int64_t outputs, inputs;
};

// One matrix [outputs, inputs] of codes c with weight = scale * (c - offset) + min.
// int8: codes[block][group of 32][k / 4 % 8][lane][k % 4], one byte each; int4: two per byte, see
// csrc/cpu/int_layout.h. scales, mins: [block][group][lane]; `group` is 32, or 16 (int8 without mins).
struct IntMatrix {
  const uint8_t* codes;
  const void* scales;
  const void* mins;  // null: none
  bool half_scales;  // scales and mins are f16, else f32
  int32_t offset;
  int32_t group;
  int64_t outputs, inputs;
};

// Where pack_gguf() writes: the arrays of an IntMatrix.
struct IntTarget {
  uint8_t* codes;
  void* scales;
  void* mins;
  bool half_scales;
};

struct Kernels {
  const char* name;
  // y[r, :] = x[r, :] / rms(x[r, :]) * weight; x row r starts at x + r * x_stride.
  void (*rmsnorm)(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t rows,
                  int64_t dim);
  // y[r, o] = sum over k of x[r, k] * w[o, k]; x row r starts at x + r * x_stride, y is dense.
  void (*matmul_float)(const float* x, int64_t x_stride, int64_t rows, const FloatMatrix& w, float* y);
  void (*matmul_int8)(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y);
  void (*matmul_int4)(const float* x, int64_t x_stride, int64_t rows, const IntMatrix& w, float* y);
  // y[i, :] = row ids[i] of w. Returns false, having written nothing, when an id is out of range.
  bool (*embedding_float)(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y);
  bool (*embedding_int8)(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
  bool (*embedding_int4)(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
  // Row-major [outputs, inputs] elements of `size` bytes (2 or 4) into panels, from row `first` on.
  void (*pack_float)(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                     uint8_t* panels);
  // Rows of GGUF blocks of the given ggml type into the arrays of a matrix, from row `first` on.
  // Returns false for a type it does not know.
  bool (*pack_gguf)(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
                    const IntTarget& target);
};

// The table in use: the widest instruction set of this machine, or what select() asked for.
const Kernels& kernels();
// Returns false when this machine or build lacks `name`.
bool select(const char* name);

}  // namespace redline

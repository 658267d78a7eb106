// The formats of the K/V cache: how a head of one token is stored in each.
//
// A row is the codes of one token and head. Keys are turned inside a block: element e of a row is at e * block_size,
// so that one element of adjacent tokens is one vector. int8 is summed by instructions that take products four at a
// time: it has quads of elements of a key side by side, and quads of tokens of a value. A format with scales has them
// behind the codes of the block, group by group, one per token.
#pragma once
#include "kernels.h"
#include "numbers.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Four bits of exponent, three of mantissa, no infinities: E4M3 of the Open Compute Project (OFP8, 2023).
struct fp8 {
  uint8_t bits;
};
// Codes -8 to 7, stored as 0 to 15, of dimension d in the low and of d + 16 in the high half of a byte: sixteen
// bytes are the 32 dimensions of a group.
struct int4x2 {
  uint8_t bits;
};

constexpr int64_t kCodeGroup = 32;  // dimensions of int4 that share a scale

// Of a format without scales; those with them say what differs.
template <typename T>
struct Format {
  using Scale = float;
  static constexpr bool kScaled = false;
  static constexpr bool kRotated = false;  // rows are stored after a Hadamard transform
  static constexpr float kUnit = 1.0f;     // a number is what load16() makes of its code, times this and the scale
  static constexpr int64_t kQuad = 1;      // elements of a key, and tokens of a value, that lie side by side
  static int64_t groups(int64_t) { return 1; }
  static int64_t row(int64_t dim) { return dim; }  // elements
};
template <>
struct Format<int8_t> : Format<void> {
  static constexpr bool kScaled = true;
  static constexpr int64_t kQuad = 4;
};
template <>
struct Format<fp8> : Format<void> {
  static constexpr bool kScaled = true;
  static constexpr float kUnit = 256.0f;
};
template <>
struct Format<int4x2> : Format<void> {
  using Scale = f16;
  static constexpr bool kScaled = true, kRotated = true;
  static int64_t groups(int64_t dim) { return dim / kCodeGroup; }
  static int64_t row(int64_t dim) { return dim / 2; }
};

// Elements of a block of one head, and of what precedes the scales in it.
template <typename T>
int64_t block_codes(int64_t block_size, int64_t dim) {
  return block_size * Format<T>::row(dim);
}
template <typename T>
int64_t block_elements(int64_t block_size, int64_t dim) {
  using F = Format<T>;
  const int64_t scales = F::kScaled ? F::groups(dim) * static_cast<int64_t>(sizeof(typename F::Scale)) : 0;
  return block_codes<T>(block_size, dim) + block_size * scales / static_cast<int64_t>(sizeof(T));
}

// Where element (i, j) of a matrix of `rows` rows of `columns` is whose rows lie in quads: the last may have fewer.
template <typename T>
int64_t place_in_quads(int64_t i, int64_t j, int64_t rows, int64_t columns) {
  constexpr int64_t kQuad = Format<T>::kQuad;
  const int64_t first = i / kQuad * kQuad, width = rows - first < kQuad ? rows - first : kQuad;
  return first * columns + j * width + i - first;
}
// Where element e of a token's key and of its value is among the codes of a block.
template <typename T>
int64_t key_place(int64_t e, int64_t token, int64_t block_size, int64_t row) {
  return place_in_quads<T>(e, token, row, block_size);
}
template <typename T>
int64_t value_place(int64_t e, int64_t token, int64_t block_size, int64_t row) {
  return place_in_quads<T>(token, e, block_size, row);
}

// Calls f with an element of the type that a format is made of.
template <typename F>
void with_element(CacheType type, const F& f) {
  switch (type) {
    case CacheType::f32: return f(float());
    case CacheType::f16: return f(f16());
    case CacheType::bf16: return f(bf16());
    case CacheType::int8: return f(int8_t());
    case CacheType::fp8: return f(fp8());
    case CacheType::int4: return f(int4x2());
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

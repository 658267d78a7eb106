// The two products of attention with codes of int8, in integers.
//
// Queries and weights become integers of 16 bits, with one unit per row (and tile, for weights): an error of 2^-16 of
// the largest beside the 2^-8 of the codes. All sums are then exact, so their order is free, and an instruction takes
// four products at a time.
#pragma once
#include "attention_int_dot.h"
#include "attention_tile.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Right operands: quad i of the codes of column vector v, [16 columns][4].
// What is read in place also fetches the same part of the next tile, as in attention_float.h.
struct KeyCodes {
  const int8_t *const *strips, *const *next;
  int64_t head, stride;
  const int8_t* at(int64_t i, int64_t v) const { return strips[v] + head + i * stride; }
  void ahead(int64_t i, int64_t v, int64_t end) const {
    for (; v < end; ++v) fetch(next[v], head + i * stride);
  }
};
struct ValueCodes {
  const int8_t *const *rows, *const *next;
  int64_t head;
  const int8_t* at(int64_t i, int64_t v) const { return rows[i * kQuad] + head + v * kWide * kQuad; }
  void ahead(int64_t i, int64_t v, int64_t end) const {
    for (; v < end; ++v) fetch(next[i * kQuad], head + v * kWide * kQuad);
  }
};

// c[r, v] (+)= unit of r times the sum over quads i of factors[r, i] * b[i, v].
template <bool Signed, bool Add, int Rows, int Vectors, typename B>
void multiply_codes(const Factors& a, int64_t row, B b, int64_t v0, Range quads, float* c, int64_t ldc) {
  const uint8_t* factors = a.row(row);
  const int64_t stride = a.count * 2;
  IntSum sums[Rows][Vectors * kSums];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int s = 0; s < Vectors * kSums; ++s) sums[r][s] = no_sum();
  for (int64_t i = quads.begin; i < quads.end; ++i) {
    b.ahead(i, v0, v0 + Vectors);
#pragma GCC unroll 8
    for (int s = 0; s < Vectors * kSums; ++s) {
      const IntCodes codes = load_codes<Signed>(b.at(i, v0 + s / kSums), s % kSums);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
        sums[r][s] = add<Signed>(sums[r][s], codes, factors + r * stride + i * kQuadBytes + bytes_before(s % kSums));
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      float* to = c + r * ldc + (v0 + v) * kWide;
      const f32x16 sum = total(sums[r] + v * kSums, a.offsets[row + r]), unit = splat16(a.units[row + r]);
      store16(to, Add ? fma(sum, unit, load16(to)) : sum * unit);
    }
}

template <bool Signed, bool Add, int Rows, int Vectors, typename B>
void multiply_code_rows(const Factors& a, int64_t row, int64_t rows, B b, int64_t v0, Range quads, float* c,
                        int64_t ldc) {
  for (; rows >= Rows; rows -= Rows, row += Rows, c += Rows * ldc)
    multiply_codes<Signed, Add, Rows, Vectors>(a, row, b, v0, quads, c, ldc);
  if constexpr (Rows > 1)
    if (rows > 0) multiply_code_rows<Signed, Add, Rows - 1, Vectors>(a, row, rows, b, v0, quads, c, ldc);
}

// Columns [v.begin * 16, v.end * 16) of c, whose first row is that of a's row `row`.
template <bool Signed, bool Add, typename B>
void multiply_code_columns(const Factors& a, int64_t row, int64_t rows, Range v, B b, Range quads, float* c,
                           int64_t ldc) {
  int64_t at = v.begin;
  for (; at + kCodeColumns <= v.end; at += kCodeColumns)
    multiply_code_rows<Signed, Add, kCodeRows, kCodeColumns>(a, row, rows, b, at, quads, c, ldc);
  for (; kCodeColumns > 1 && at < v.end; ++at)
    multiply_code_rows<Signed, Add, kCodeRows, 1>(a, row, rows, b, at, quads, c, ldc);
}

struct Int8Scratch {
  Buffer scaled, queries, weights;
};

// The products of one item with tile after tile, see FloatProducts. The cache is read in place whenever quads are
// whole.
class Int8Products {
 public:
  using Element = int8_t;
  using Scratch = Int8Scratch;
  static constexpr int64_t kRowBlock = 24;
  static constexpr int64_t kStep = kWide;
  static constexpr int64_t kItemRows = 192;
  static constexpr int64_t kPlane = kRowBlock * kTile;

  Int8Products(int64_t rows, int64_t tokens, int64_t dim, Int8Scratch& scratch)
      : dim_(dim), padded_(round_up(dim, kWide)), ahead_(tokens == 1 && dim % kWide == 0),
        scaled_(scratch.scaled.need(padded_)), queries_(scratch.queries, rows, padded_),
        weights_(scratch.weights, kRowBlock, kTile) {
    std::memset(scaled_, 0, padded_ * sizeof(float));
  }

  void set_query(int64_t row, const float* q, float scale) {
    for (int64_t d = 0; d < dim_; ++d) scaled_[d] = q[d] * scale;
    // Sums of products stay below 2^31.
    queries_.set<true>(row, scaled_, {0, padded_}, min(kLargestSigned, INT32_MAX / (128 * padded_)));
  }

  bool fetches_ahead() const { return ahead_; }

  void load(const Tile<int8_t>& tile, const Tile<int8_t>& next, int64_t head, Range) {
    tile_ = &tile;
    next_ = &next;
    head_ = head;
  }

  // Codes are numbers, and a scale of a key that is not seen does not reach its weight.
  bool finite() const { return true; }

  // scores[r, key] for some strips of keys.
  void score(int64_t row, int64_t rows, Range keys, float* scores) const {
    const KeyCodes b = {tile_->keys, next_->keys, head_, tile_->key_stride};
    multiply_code_columns<true, false>(queries_, row, rows, {keys.begin / kWide, keys.end / kWide}, b,
                                       {0, (dim_ + kQuad - 1) / kQuad}, scores, kTile);
  }

  // values[r, :] += sum over keys of weights[r, key] * value[key, :]; weights of strips with some of the keys are
  // set, and zero where a key is none.
  void weigh(int64_t rows, Range keys, const float* weights, float* values) {
    const Range strips = {keys.begin / kWide * kWide, round_up(keys.end, kWide)};
    for (int64_t r = 0; r < rows; ++r) weights_.set<false>(r, weights + r * kTile, strips, kLargestUnsigned);
    const ValueCodes b = {tile_->values, next_->values, head_};
    multiply_code_columns<false, true>(weights_, 0, rows, {0, padded_ / kWide}, b,
                                       {strips.begin / kQuad, strips.end / kQuad}, values, padded_);
  }

 private:
  const int64_t dim_, padded_;
  const bool ahead_;
  int64_t head_ = 0;
  const Tile<int8_t> *tile_ = nullptr, *next_ = nullptr;
  float* scaled_;
  Factors queries_, weights_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

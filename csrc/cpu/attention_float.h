// The two products of attention in float: every score sums its dimensions in order, every output the keys of a
// tile in order, one fused multiply-add each, whatever is beside it.
#pragma once
#include "attention_tile.h"
#include "hadamard.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// What fits the registers: 32 of sixteen lanes, or 16 of eight. Few rows take more columns, to keep the
// multipliers busy; many take few columns, to read these less often.
#if REDLINE_ISA_avx512
constexpr int kWideColumns = 4, kWideRows = 6, kColumns = 2, kRows = 12;
#else
constexpr int kWideColumns = 2, kWideRows = 3, kColumns = 1, kRows = 6;
#endif

// Right operands: row i, vector v.
// What is read in place also fetches the same part of the next tile, a little at a time: a core keeps only some
// sixteen requests in flight.
template <typename T>
struct KeyColumns {
  const T *const *strips, *const *next;
  int64_t head;  // elements from there to the head
  int64_t stride, first;  // dimension of row 0
  f32x16 at(int64_t i, int64_t v) const { return load_keys(strips[v] + head, stride, first + i); }
  void ahead(int64_t i, int64_t v, int64_t end) const {
    constexpr uint64_t kLine = 64 / sizeof(T);
    const int64_t offset = Format<T>::row(first + i) * stride;
    if (static_cast<uint64_t>(offset) % kLine < static_cast<uint64_t>(stride))
      for (; v < end; ++v) fetch(next[v], head + offset);
  }
};
template <typename T>
struct ValueRows {
  const T *const *rows, *const *next;
  int64_t head;
  f32x16 at(int64_t i, int64_t v) const { return load_value(rows[i] + head, v); }
  void ahead(int64_t i, int64_t v, int64_t end) const {
    for (; v < end; v += 64 / (kWide * sizeof(T))) fetch(next[i], head + Format<T>::row(v * kWide));
  }
};
// Panels of kColumns vectors, each read from one end to the other; `rows` is how long they are.
struct Panels {
  const float* data;
  int64_t rows;
  static float* address(float* data, int64_t rows, int64_t i, int64_t v) {
    return data + (v / kColumns * rows + i) * kColumns * kWide + v % kColumns * kWide;
  }
  f32x16 at(int64_t i, int64_t v) const { return load16(address(const_cast<float*>(data), rows, i, v)); }
  void ahead(int64_t, int64_t, int64_t) const {}
};

// c[r, v] += sum over i of a[r, i] * b[i, v], i in order; from zero when not Add. Unrolled early, because the
// sums would else begin and end on the stack.
template <int Rows, int Vectors, bool Add, typename B>
void multiply(const float* a, int64_t lda, B b, int64_t v0, float* c, int64_t ldc, int64_t depth) {
  f32x16 acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) acc[r][v] = Add ? load16(c + r * ldc + (v0 + v) * kWide) : splat16(0.0f);
  for (int64_t i = 0; i < depth; ++i) {
    b.ahead(i, v0, v0 + Vectors);
    f32x16 row[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) row[v] = b.at(i, v0 + v);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const f32x16 factor = splat16(a[r * lda + i]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(factor, row[v], acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store16(c + r * ldc + (v0 + v) * kWide, acc[r][v]);
}

// The numbers of rows there is code for, largest first: 12, 8, 6, 5, 4, 3, 2, 1.
constexpr int fewer(int rows) { return rows > 8 ? 8 : rows > 6 ? 6 : rows - 1; }

// The same for any number of rows, at most Rows of them together.
template <int Rows, int Vectors, bool Add, typename B>
void multiply_rows(int64_t rows, const float* a, int64_t lda, B b, int64_t v0, float* c, int64_t ldc, int64_t depth) {
  for (; rows >= Rows; rows -= Rows, a += Rows * lda, c += Rows * ldc)
    multiply<Rows, Vectors, Add>(a, lda, b, v0, c, ldc, depth);
  if constexpr (Rows > 1)
    if (rows > 0) multiply_rows<fewer(Rows), Vectors, Add>(rows, a, lda, b, v0, c, ldc, depth);
}

// Columns [v.begin * 16, v.end * 16) of c.
template <bool Add, typename B>
void multiply_columns(int64_t rows, Range v, const float* a, int64_t lda, B b, float* c, int64_t ldc, int64_t depth) {
  int64_t at = v.begin;
  if (rows <= kWideRows)
    for (; at + kWideColumns <= v.end; at += kWideColumns)
      multiply_rows<kWideRows, kWideColumns, Add>(rows, a, lda, b, at, c, ldc, depth);
  for (; at + kColumns <= v.end; at += kColumns)
    multiply_rows<kRows, kColumns, Add>(rows, a, lda, b, at, c, ldc, depth);
  if constexpr (kColumns > 1)
    for (; at < v.end; ++at) multiply_rows<kRows, 1, Add>(rows, a, lda, b, at, c, ldc, depth);
}

struct FloatScratch {
  Buffer queries, keys, values;
};

// The products of one item with tile after tile. One token reads the cache in place; more share a copy of the
// tile in float.
template <typename T>
class FloatProducts {
 public:
  using Element = T;
  using F = Format<T>;
  using Scratch = FloatScratch;
  static constexpr int64_t kRowBlock = 24;  // rows that go through a tile together
  static constexpr int64_t kStep = kWide;   // keys that are skipped or computed together
  static constexpr int64_t kItemRows = 192;  // rows that share the copy of a tile

  static constexpr int64_t kPlane = kRowBlock * kTile;  // floats from the scores of one group to those of the next

  FloatProducts(int64_t rows, int64_t tokens, int64_t dim, FloatScratch& scratch)
      : dim_(dim), padded_(round_up(dim, kWide)), groups_(F::groups(dim)), in_place_(tokens == 1 && dim % kWide == 0),
        queries_(scratch.queries.need(rows * dim)) {
    if (in_place_) return;
    keys_ = scratch.keys.need(dim * kTile);
    values_ = scratch.values.need(round_up(padded_, kColumns * kWide) * kTile);
  }

  void set_query(int64_t row, const float* q, float scale) {
    float* to = queries_ + row * dim_;
    for (int64_t d = 0; d < dim_; ++d) to[d] = q[d] * scale;
    if (F::kRotated) hadamard(to, dim_);
  }

  // Whether the tile after the one that is loaded should be known.
  bool fetches_ahead() const { return in_place_; }

  // `head`: the elements from the first head of the tile to the one that is next; not 0 only in place.
  void load(const Tile<T>& tile, const Tile<T>& next, int64_t head, Range keys) {
    tile_ = &tile;
    next_ = &next;
    head_ = head;
    if (in_place_) return;
    for (int64_t strip = keys.begin / kWide; strip * kWide < keys.end; ++strip)
      for (int64_t d = 0; d < dim_; ++d)
        store16(Panels::address(keys_, dim_, d, strip), load_keys(tile.keys[strip], tile.key_stride, d));
    f32x16 zeros = splat16(0.0f);
    for (int64_t j = keys.begin; j < keys.end; ++j)
      for (int64_t d = 0; d < dim_; d += kWide) {
        const f32x16 value = d + kWide <= dim_ ? load_value(tile.values[j], d / kWide) : last(tile.values[j], d);
        store16(Panels::address(values_, kTile, j, d / kWide), value);
        zeros = fma(value, splat16(0.0f), zeros);
      }
    finite_ = sum(zeros) == 0.0f;
  }

  // Whether a weight of zero takes every value of the tile out.
  bool finite() const { return finite_; }

  // scores[group, r, key] for some strips of keys: the part of the dimensions that share a scale.
  void score(int64_t row, int64_t rows, Range keys, float* scores) const {
    const int64_t depth = dim_ / groups_;
    const Range strips = {keys.begin / kWide, keys.end / kWide};
    for (int64_t g = 0; g < groups_; ++g, scores += kPlane) {
      const float* q = queries_ + row * dim_ + g * depth;
      if (in_place_)
        multiply_columns<false>(rows, strips, q, dim_,
                                KeyColumns<T>{tile_->keys, next_->keys, head_, tile_->key_stride, g * depth}, scores,
                                kTile, depth);
      else
        multiply_columns<false>(rows, strips, q, dim_, Panels{keys_ + g * depth * kColumns * kWide, dim_}, scores,
                                kTile, depth);
    }
  }

  // values[r, :] += sum over keys of weights[group of :, r, key] * value[key, :]; keys need not be whole strips.
  void weigh(int64_t rows, Range keys, const float* weights, float* values) const {
    const int64_t depth = keys.end - keys.begin, width = padded_ / kWide / groups_;
    for (int64_t g = 0; g < groups_; ++g, weights += kPlane) {
      const Range columns = {g * width, (g + 1) * width};
      const float* a = weights + keys.begin;
      if (in_place_)
        multiply_columns<true>(rows, columns, a, kTile,
                               ValueRows<T>{tile_->values + keys.begin, next_->values + keys.begin, head_}, values,
                               padded_, depth);
      else
        multiply_columns<true>(rows, columns, a, kTile, Panels{values_ + keys.begin * kColumns * kWide, kTile},
                               values, padded_, depth);
    }
  }

 private:
  // The dimensions from d on, fewer than a vector.
  f32x16 last(const T* row, int64_t d) const {
    if constexpr (F::kRotated) return splat16(0.0f);  // has none
    else return load16_first(row + d, dim_ - d);
  }

  const int64_t dim_, padded_, groups_;
  const bool in_place_;
  bool finite_ = true;
  int64_t head_ = 0;
  const Tile<T> *tile_ = nullptr, *next_ = nullptr;
  float *queries_, *keys_ = nullptr, *values_ = nullptr;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// Keys and values on their way into the paged cache, in each of its formats.
#pragma once
#include <vector>

#include "hadamard.h"
#include "kernels.h"
#include "kv_encode.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kRun = 16;  // tokens whose keys are turned together

// Writes keys and values where the slots of their tokens say.
template <typename T>
class KvWriter {
 public:
  explicit KvWriter(const KvStoreArgs& a)
      : a_(a), row_(F::row(a.head_dim)), rows_(memory<T>(kRun * row_)),
        rotated_(F::kRotated ? memory<float>(a.head_dim) : nullptr) {}

  // Tokens [begin, end) of all heads.
  void write(int64_t begin, int64_t end) {
    fetch(begin, 0, a_.num_heads);
    for (int64_t t = begin; t < end;) {
      const int64_t count = run(t, end);
      if (t + count < end) fetch(t + count, 0, a_.num_heads);
      if (a_.slots[t] >= 0)
        for (int64_t h = 0; h < a_.num_heads; ++h) {
          put_keys(t, count, h, a_.k + t * a_.k_stride + h * a_.head_dim);
          put_values(t, count, h);
        }
      t += count;
    }
  }

  // Ask for the lines that some heads of a token go to: one dimension of the keys after the other, they would be
  // waited for one by one.
  void fetch(int64_t t, int64_t first_head, int64_t end_head) const {
    if (a_.slots[t] < 0) return;
    constexpr int64_t kLine = 64 / sizeof(T);
    const int64_t offset = a_.slots[t] % a_.block_size, key_run = a_.block_size * F::kQuad;
    for (int64_t h = first_head; h < end_head; ++h) {
      const T* keys = static_cast<const T*>(a_.k_cache) + block(t, h) + offset * F::kQuad;
      const T* values = static_cast<const T*>(a_.v_cache) + block(t, h) + offset / F::kQuad * F::kQuad * row_;
      for (int64_t i = 0; i < a_.block_size * row_; i += key_run < kLine ? kLine : key_run)
        __builtin_prefetch(keys + i, 1);
      for (int64_t i = 0; i < F::kQuad * row_; i += kLine) __builtin_prefetch(values + i, 1);
      if (!F::kScaled) continue;
      __builtin_prefetch(scale_slot(a_.k_cache, t, h, offset).first, 1);
      __builtin_prefetch(scale_slot(a_.v_cache, t, h, offset).first, 1);
    }
  }

  // Head h of one token, with these keys in place of those of the call.
  void write_head(int64_t t, int64_t h, const float* keys) {
    if (a_.slots[t] < 0) return;
    put_keys(t, 1, h, keys);
    put_values(t, 1, h);
  }

 private:
  using F = Format<T>;

  template <typename E>
  static E* memory(size_t size) {
    thread_local std::vector<E> kept;
    if (kept.size() < size) kept.resize(size);
    return kept.data();
  }

  // How many tokens from t on go side by side into one block.
  int64_t run(int64_t t, int64_t end) const {
    int64_t count = 1;
    while (count < kRun && t + count < end && a_.slots[t] >= 0 && a_.slots[t + count] == a_.slots[t] + count &&
           a_.slots[t + count] % a_.block_size != 0)
      ++count;
    return count;
  }

  int64_t block(int64_t t, int64_t h) const {
    return (a_.slots[t] / a_.block_size * a_.num_heads + h) * block_elements<T>(a_.block_size, a_.head_dim);
  }
  ScaleSlot scale_slot(void* cache, int64_t t, int64_t h, int64_t offset) const {
    if (!F::kScaled) return {nullptr, 0};
    T* scales = static_cast<T*>(cache) + block(t, h) + a_.block_size * row_;
    return {reinterpret_cast<uint8_t*>(scales) + offset * static_cast<int64_t>(sizeof(typename F::Scale)),
            a_.block_size};
  }

  void put_row(const float* x, T* to, ScaleSlot scales) {
    if (F::kRotated) {
      for (int64_t i = 0; i < a_.head_dim; i += kLanes) store(rotated_ + i, saturate(load(x + i)));
      hadamard(rotated_, a_.head_dim);
      x = rotated_;
    }
    encode(x, to, a_.head_dim, scales);
  }

  void put_keys(int64_t t, int64_t count, int64_t h, const float* keys) {
    const int64_t offset = a_.slots[t] % a_.block_size;
    T* to = static_cast<T*>(a_.k_cache) + block(t, h);
    for (int64_t i = 0; i < count; ++i)
      put_row(keys + i * a_.k_stride, rows_ + i * row_, scale_slot(a_.k_cache, t, h, offset + i));
    for (int64_t e = 0; e < row_; ++e)
      for (int64_t i = 0; i < count; ++i) to[key_place<T>(e, offset + i, a_.block_size, row_)] = rows_[i * row_ + e];
  }

  void put_values(int64_t t, int64_t count, int64_t h) {
    const int64_t offset = a_.slots[t] % a_.block_size;
    T* to = static_cast<T*>(a_.v_cache) + block(t, h);
    for (int64_t i = 0; i < count; ++i) {
      T* row = F::kQuad == 1 ? to + (offset + i) * row_ : rows_;
      put_row(a_.v + (t + i) * a_.v_stride + h * a_.head_dim, row, scale_slot(a_.v_cache, t, h, offset + i));
      if (F::kQuad > 1)
        for (int64_t e = 0; e < row_; ++e) to[value_place<T>(e, offset + i, a_.block_size, row_)] = rows_[e];
    }
  }

  const KvStoreArgs& a_;
  const int64_t row_;
  T* rows_;
  float* rotated_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// Keys and values on their way into the paged cache, in each of its formats.
#pragma once
#include <cstring>
#include <vector>

#include "half.h"
#include "kernels.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kRun = 16;  // tokens whose keys are turned together

// Beyond the largest half there is only infinity, which a weight of zero cannot take out. NaN stays NaN.
inline f32x8 saturate(f32x8 x) { return min(splat(65504.0f), max(splat(-65504.0f), x)); }

// Each returns the scale by which codes are multiplied.
inline float encode(const float* x, float* to, int64_t dim) {
  std::memcpy(to, x, dim * sizeof(float));
  return 1.0f;
}

inline float encode(const float* x, uint16_t* to, int64_t dim) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store_half(to + i, saturate(load(x + i)));
  if (i == dim) return 1.0f;
  uint16_t rest[kLanes];
  store_half(rest, saturate(load_first(x + i, dim - i)));
  std::memcpy(to + i, rest, (dim - i) * sizeof(uint16_t));
  return 1.0f;
}

// Symmetric: the largest magnitude becomes 127. A NaN makes the scale NaN, and so the whole row.
inline float encode(const float* x, int8_t* to, int64_t dim) {
  f32x8 highest = splat(0.0f), zeros = splat(0.0f);
  for (int64_t i = 0; i < dim; i += kLanes) {
    const f32x8 value = saturate(load_upto(x + i, dim - i < kLanes ? dim - i : kLanes));
    highest = max(highest, abs(value));
    zeros = fma(value, splat(0.0f), zeros);
  }
  const float scale = max_lane(highest) / 127.0f + sum(zeros);
  if (!(scale > 0.0f)) {
    std::memset(to, 0, dim);
    return scale;
  }
  const f32x8 magic = splat(12582912.0f), most = splat(127.0f), least = splat(-127.0f);
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t count = dim - i < kLanes ? dim - i : kLanes;
    const f32x8 value = saturate(load_upto(x + i, count)) / splat(scale);
    float codes[kLanes];
    store(codes, min(most, max(least, (value + magic) - magic)));  // to nearest even
    for (int64_t j = 0; j < count; ++j) to[i + j] = static_cast<int8_t>(codes[j]);
  }
  return scale;
}

// Writes keys and values where the slots of their tokens say.
template <typename T>
class KvWriter {
 public:
  explicit KvWriter(const KvStoreArgs& a) : a_(a), rows_(memory(kRun * a.head_dim)) {}

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
    const int64_t offset = a_.slots[t] % a_.block_size, key_step = a_.block_size < kLine ? kLine : a_.block_size;
    for (int64_t h = first_head; h < end_head; ++h) {
      const T* keys = static_cast<const T*>(a_.k_cache) + block(t, h) + offset;
      const T* values = static_cast<const T*>(a_.v_cache) + block(t, h) + offset * a_.head_dim;
      for (int64_t i = 0; i < a_.block_size * a_.head_dim; i += key_step) __builtin_prefetch(keys + i, 1);
      for (int64_t i = 0; i < a_.head_dim; i += kLine) __builtin_prefetch(values + i, 1);
    }
  }

  // Head h of one token, with these keys in place of those of the call.
  void write_head(int64_t t, int64_t h, const float* keys) {
    if (a_.slots[t] < 0) return;
    put_keys(t, 1, h, keys);
    put_values(t, 1, h);
  }

 private:
  static T* memory(size_t size) {
    thread_local std::vector<T> kept;
    if (kept.size() < size) kept.resize(size);
    return kept.data();
  }

  static constexpr int64_t kScaleBytes = sizeof(T) == 1 ? sizeof(float) : 0;

  // How many tokens from t on go side by side into one block.
  int64_t run(int64_t t, int64_t end) const {
    int64_t count = 1;
    while (count < kRun && t + count < end && a_.slots[t] >= 0 && a_.slots[t + count] == a_.slots[t] + count &&
           a_.slots[t + count] % a_.block_size != 0)
      ++count;
    return count;
  }

  int64_t block(int64_t t, int64_t h) const {
    return (a_.slots[t] / a_.block_size * a_.num_heads + h) * a_.block_size * (a_.head_dim + kScaleBytes);
  }
  void put_scale(T* block, int64_t offset, float scale) const {
    if (kScaleBytes) std::memcpy(block + a_.block_size * a_.head_dim + offset * kScaleBytes, &scale, sizeof scale);
  }

  void put_keys(int64_t t, int64_t count, int64_t h, const float* keys) {
    const int64_t offset = a_.slots[t] % a_.block_size, dim = a_.head_dim;
    T* to = static_cast<T*>(a_.k_cache) + block(t, h);
    for (int64_t i = 0; i < count; ++i)
      put_scale(to, offset + i, encode(keys + i * a_.k_stride, rows_ + i * dim, dim));
    for (int64_t d = 0; d < dim; ++d)
      for (int64_t i = 0; i < count; ++i) to[d * a_.block_size + offset + i] = rows_[i * dim + d];
  }

  void put_values(int64_t t, int64_t count, int64_t h) {
    const int64_t offset = a_.slots[t] % a_.block_size, dim = a_.head_dim;
    T* to = static_cast<T*>(a_.v_cache) + block(t, h);
    for (int64_t i = 0; i < count; ++i)
      put_scale(to, offset + i, encode(a_.v + (t + i) * a_.v_stride + h * dim, to + (offset + i) * dim, dim));
  }

  const KvStoreArgs& a_;
  T* rows_;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

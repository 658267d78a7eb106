// Finding the largest of a row of logits. A tie goes to the lower id everywhere.
#pragma once
#include <algorithm>
#include <vector>

#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {

inline int64_t logit_rows_per_thread(int64_t vocab) { return vocab >= 8192 ? 1 : 8192 / (vocab > 0 ? vocab : 1); }

struct Peak {
  float value;
  bool usable;  // no NaN, and something above -infinity
};

inline Peak peak(const float* x, int64_t n) {
  const float lowest = -__builtin_inff();
  f32x8 highest = splat(lowest), second = highest, poison = splat(0.0f);
  int64_t i = 0;
  const auto take = [&](f32x8 v, f32x8& into) {
    into = max(v, into);  // keeps `into` when v is NaN
    poison = select(is_nan(v), splat(1.0f), poison);
  };
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    take(load(x + i), highest);
    take(load(x + i + kLanes), second);
  }
  for (; i < n; i += kLanes) take(n - i < kLanes ? load_first(x + i, n - i, lowest) : load(x + i), highest);
  const float value = max_lane(max(highest, second));
  return {value, max_lane(poison) == 0.0f && value > lowest};
}

// The lowest id of the largest logit, or -1 when the row has a NaN or nothing above -infinity.
inline int32_t most_likely(const float* x, int64_t n) {
  const Peak top = peak(x, n);
  if (!top.usable) return -1;
  int64_t i = 0;
  while (x[i] != top.value) ++i;
  return static_cast<int32_t>(i);
}

// The k largest of x[0, n), most likely first. Only the ids that could be among them are sorted.
inline void largest(const float* x, int64_t n, int64_t k, std::vector<int32_t>& ids) {
  const auto before = [x](int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; };
  ids.clear();
  float bar = -__builtin_inff();  // once k are known, later ids must beat the worst of them
  const size_t room = 2 * static_cast<size_t>(k) + 64;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    const bool full = static_cast<int64_t>(ids.size()) >= k;
    if (full && count == kLanes && !any(less(splat(bar), load(x + i)))) continue;
    for (int64_t j = i; j < i + count; ++j)
      if (static_cast<int64_t>(ids.size()) < k || x[j] > bar) ids.push_back(static_cast<int32_t>(j));
    if (ids.size() > room || (!full && static_cast<int64_t>(ids.size()) >= k)) {
      std::nth_element(ids.begin(), ids.begin() + k - 1, ids.end(), before);
      ids.resize(k);
      bar = x[ids[k - 1]];
    }
  }
  std::sort(ids.begin(), ids.end(), before);
  if (static_cast<int64_t>(ids.size()) > k) ids.resize(k);
}

}  // namespace REDLINE_ISA
}  // namespace redline

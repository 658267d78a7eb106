// One loop for every op that treats each element alone.
#pragma once
#include "threads.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {

// Less than this many elements are not worth waking a thread for.
constexpr int64_t kElementsPerThread = 16384;

inline int64_t rows_per_thread(int64_t row_elements) {
  return row_elements >= kElementsPerThread ? 1 : kElementsPerThread / (row_elements > 0 ? row_elements : 1);
}

// Call f(row, i, count) over [0, rows) x [0, n) in vectors of count <= 8 elements. f must act on each lane
// alone: which vector an element falls in must not change its value.
template <typename F>
inline void elementwise(int64_t rows, int64_t n, F f) {
  constexpr int64_t kPart = 4096;
  const int64_t parts = (n + kPart - 1) / kPart;
  parallel_for(rows * parts, rows_per_thread(n < kPart ? n : kPart), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / parts, first = item % parts * kPart;
      const int64_t last = first + kPart < n ? first + kPart : n;
      int64_t i = first;
      for (; i + kLanes <= last; i += kLanes) f(row, i, kLanes);
      if (i < last) f(row, i, last - i);
    }
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

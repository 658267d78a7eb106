// How every matmul cuts its work: rows into pieces that stay in the cache, outputs into tasks.
#pragma once
#include <algorithm>

#include "kernels.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// As many rows as keep their activations in a second-level cache while all weights pass by.
inline int64_t rows_at_once(int64_t bytes_per_row) {
  return std::clamp<int64_t>((int64_t{512} << 10) / bytes_per_row, 24, 528) / 24 * 24;
}

// Blocks of outputs per task: some tasks for each thread, so that a late one does not hold up the rest.
inline int64_t blocks_at_once(int64_t blocks) { return std::max<int64_t>(1, blocks / (8 * num_threads())); }

// With few rows weights come straight from memory. The hardware's own prefetch stops at the end of a page,
// so the next ones are asked for this far ahead; past the last weight that does nothing.
constexpr int64_t kAhead = 4096;
constexpr int kFewRows = 4;
inline void prefetch(const void* from, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64)
    __builtin_prefetch(static_cast<const char*>(from) + kAhead + line);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

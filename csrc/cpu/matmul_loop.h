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

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

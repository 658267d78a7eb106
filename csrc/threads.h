// A pool of worker threads and the one way to use it: parallel_for.
#pragma once
#include <cstdint>
#include <functional>

namespace redline {

// Use `count` threads from now on, the calling thread included. Waits for a parallel_for that runs.
// Throws std::system_error, and uses the calling thread alone, when the system has not so many.
void set_num_threads(int count);
int num_threads();

// Call body(begin, end) over disjoint ranges that cover [0, size). Ranges are multiples of `grain`
// (but for the last), handed out in order to whichever thread is free. `body` must not throw, and
// which thread runs a range must not change its result. Calls from several threads take turns.
void parallel_for(int64_t size, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace redline

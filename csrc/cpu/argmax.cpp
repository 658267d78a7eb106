#include "cpu/declare.h"
#include "cpu/select.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {

void argmax(const float* logits, int64_t stride, int32_t* ids, int64_t rows, int64_t vocab) {
  parallel_for(rows, logit_rows_per_thread(vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) ids[r] = most_likely(logits + r * stride, vocab);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

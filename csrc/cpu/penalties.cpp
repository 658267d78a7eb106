#include "cpu/declare.h"

namespace redline {
namespace REDLINE_ISA {

void penalties(float* logits, const int32_t* ids, const int32_t* counts, int64_t n, float repetition,
               float presence, float frequency) {
  for (int64_t i = 0; i < n; ++i) {
    float& logit = logits[ids[i]];
    logit = logit > 0.0f ? logit / repetition : logit * repetition;
    if (counts[i] > 0) logit -= frequency * static_cast<float>(counts[i]) + presence;
  }
}

}  // namespace REDLINE_ISA
}  // namespace redline

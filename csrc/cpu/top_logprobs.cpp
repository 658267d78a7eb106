#include "cpu/declare.h"
#include "cpu/select.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// log of the sum of e^(x - highest): eight float sums over short stretches, those added in double.
double log_sum(const float* x, int64_t n, float highest) {
  constexpr int64_t kStretch = 512;
  double total = 0.0;
  for (int64_t begin = 0; begin < n; begin += kStretch) {
    const int64_t end = begin + kStretch < n ? begin + kStretch : n;
    f32x8 acc = splat(0.0f);
    for (int64_t i = begin; i < end; i += kLanes) {
      const f32x8 v = end - i < kLanes ? load_first(x + i, end - i, -__builtin_inff()) : load(x + i);
      acc = acc + exp(v - splat(highest));
    }
    total += sum(acc);
  }
  return std::log(total);
}

int32_t rank_of(const float* x, int64_t n, int64_t id) {
  int64_t ahead = 0;
  for (int64_t i = 0; i < id; ++i) ahead += x[i] >= x[id];
  for (int64_t i = id + 1; i < n; ++i) ahead += x[i] > x[id];
  return static_cast<int32_t>(ahead + 1);
}

void one_row(const TopLogprobsArgs& a, int64_t r) {
  const float* x = a.logits + r * a.stride;
  const Peak top = peak(x, a.vocab);
  if (!top.usable) {
    std::fill_n(a.ids + r * a.k, a.k, -1);
    std::fill_n(a.logprobs + r * a.k, a.k, __builtin_nanf(""));
    a.chosen_logprob[r] = __builtin_nanf("");
    a.chosen_rank[r] = 0;
    return;
  }
  const double shift = top.value + log_sum(x, a.vocab, top.value);
  thread_local std::vector<int32_t> ids;
  if (a.k > 0) largest(x, a.vocab, a.k, ids);
  for (int64_t i = 0; i < a.k; ++i) {
    a.ids[r * a.k + i] = ids[i];
    a.logprobs[r * a.k + i] = static_cast<float>(x[ids[i]] - shift);
  }
  a.chosen_logprob[r] = static_cast<float>(x[a.chosen[r]] - shift);
  a.chosen_rank[r] = rank_of(x, a.vocab, a.chosen[r]);
}

}  // namespace

void top_logprobs(const TopLogprobsArgs& a) {
  parallel_for(a.rows, logit_rows_per_thread(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) one_row(a, r);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

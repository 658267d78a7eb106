#include <cmath>
#include <cstring>

#include "cpu/declare.h"
#include "cpu/select.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// The unnormalised probabilities of one row and the ids that survived the filters so far.
struct Candidates {
  std::vector<float> weight;   // e^((logit - highest) / temperature), by id
  std::vector<int32_t> ids;    // most likely first, when `filtered`; else all of weight above 0 stand
  bool filtered = false;
};

void weigh(const float* x, int64_t n, float highest, float temperature, std::vector<float>& weight) {
  weight.resize(n);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    const f32x8 v = load_upto(x + i, count);
    store_upto(weight.data() + i, count, exp((v - splat(highest)) / splat(temperature)));
  }
}

// In the order of ids, so that the sum does not depend on how the ids were found.
double mass(const std::vector<float>& weight) {
  double total = 0.0;
  for (float w : weight) total += w;
  return total;
}
double mass(const std::vector<float>& weight, const std::vector<int32_t>& ids) {
  double total = 0.0;
  for (int32_t id : ids) total += weight[id];
  return total;
}

// Where the nucleus ends: it holds the weights above `weight`, and those equal to it up to id `last`.
struct Cut {
  float weight;
  int64_t last;
};

// Descends the digits of the weights from the high bits down, as a radix sort would but into one bucket only:
// the one in which the mass, summed from the heaviest bucket on, reaches `enough`.
Cut nucleus(const std::vector<float>& weight, double enough) {
  struct Digit {
    int shift, width;
  };
  double above = 0.0;
  uint64_t prefix = 0;
  for (const Digit digit : {Digit{20, 12}, Digit{9, 11}, Digit{0, 9}}) {
    double mass[4096] = {};
    for (float w : weight) {
      uint32_t bits;
      std::memcpy(&bits, &w, 4);
      if (static_cast<uint64_t>(bits) >> (digit.shift + digit.width) != prefix) continue;
      mass[bits >> digit.shift & ((1u << digit.width) - 1)] += w;
    }
    int bucket = -1;  // ends as the lightest that is not empty when rounding keeps the sum from `enough`
    for (int d = (1 << digit.width) - 1; d >= 0; --d) {
      if (mass[d] == 0.0) continue;
      if (bucket >= 0) above += mass[bucket];
      bucket = d;
      if (above + mass[d] >= enough) break;
    }
    prefix = prefix << digit.width | static_cast<uint64_t>(bucket);
  }
  const uint32_t bits = static_cast<uint32_t>(prefix);
  Cut cut{0.0f, -1};
  std::memcpy(&cut.weight, &bits, 4);
  for (size_t i = 0; i < weight.size(); ++i) {
    if (weight[i] != cut.weight) continue;
    cut.last = static_cast<int64_t>(i);
    above += weight[i];
    if (above >= enough) break;
  }
  return cut;
}

void keep_top_p(float top_p, Candidates& c) {
  if (c.filtered) {
    const double enough = top_p * mass(c.weight, c.ids);
    double sum = 0.0;
    size_t size = 0;
    while (size < c.ids.size() && (size == 0 || sum < enough)) sum += c.weight[c.ids[size++]];
    c.ids.resize(size);
    return;
  }
  const Cut cut = nucleus(c.weight, top_p * mass(c.weight));
  for (size_t i = 0; i < c.weight.size(); ++i)
    if (c.weight[i] < cut.weight || (c.weight[i] == cut.weight && static_cast<int64_t>(i) > cut.last))
      c.weight[i] = 0.0f;
}

void keep_min_p(float min_p, Candidates& c) {
  const auto low = [&](int32_t id) { return c.weight[id] < min_p; };  // the largest weight is 1
  if (c.filtered) c.ids.erase(std::remove_if(c.ids.begin(), c.ids.end(), low), c.ids.end());
  else
    for (float& w : c.weight)
      if (w < min_p) w = 0.0f;
}

// The token at which the running mass, in order of ids, passes uniform * total.
int32_t draw(Candidates& c, double uniform) {
  if (c.filtered) std::sort(c.ids.begin(), c.ids.end());
  const double total = c.filtered ? mass(c.weight, c.ids) : mass(c.weight);
  const int64_t count = c.filtered ? c.ids.size() : c.weight.size();
  const double target = uniform * total;
  double sum = 0.0;
  int32_t last = -1;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = c.filtered ? c.ids[i] : static_cast<int32_t>(i);
    if (c.weight[id] == 0.0f) continue;
    last = id;
    sum += c.weight[id];
    if (sum > target) break;
  }
  return last;
}

int32_t sample_row(const float* x, int64_t n, float temperature, int32_t top_k, float top_p, float min_p,
                   double uniform) {
  const Peak top = peak(x, n);
  if (!top.usable) return -1;
  if (temperature == 0.0f || std::isinf(top.value)) return most_likely(x, n);
  thread_local Candidates c;
  c.filtered = false;
  weigh(x, n, top.value, temperature, c.weight);
  if (top_k > 0 && top_k < n) {
    largest(x, n, top_k, c.ids);
    c.filtered = true;
  }
  if (top_p < 1.0f) keep_top_p(top_p, c);
  if (min_p > 0.0f) keep_min_p(min_p, c);
  return draw(c, uniform);
}

}  // namespace

void sample(const SampleArgs& a) {
  parallel_for(a.rows, logit_rows_per_thread(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      a.ids[r] = sample_row(a.logits + r * a.stride, a.vocab, a.temperature[r], a.top_k[r], a.top_p[r], a.min_p[r],
                            a.uniform[r]);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

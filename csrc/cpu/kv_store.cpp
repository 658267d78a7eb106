#include "cpu/kv_writer.h"

#include "cpu/declare.h"
#include "cpu/elementwise.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Scattered stores are worth a thread sooner than arithmetic is.
constexpr int64_t kStoreCost = 8;

}  // namespace

void kv_store(const KvStoreArgs& a) {
  const int64_t cost = kStoreCost * 2 * a.num_heads * a.head_dim;
  parallel_for(a.num_tokens, rows_per_thread(cost), [&](int64_t begin, int64_t end) {
    with_element(a.cache, [&](auto element) { KvWriter<decltype(element)>(a).write(begin, end); });
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

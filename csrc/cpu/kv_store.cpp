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
    if (a.cache == CacheType::f16) KvWriter<uint16_t>(a).write(begin, end);
    else if (a.cache == CacheType::int8) KvWriter<int8_t>(a).write(begin, end);
    else KvWriter<float>(a).write(begin, end);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

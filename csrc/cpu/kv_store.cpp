#include <cstring>

#include "cpu/declare.h"
#include "cpu/elementwise.h"
#include "half.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

void put(const float* x, float* cache, int64_t dim) { std::memcpy(cache, x, dim * sizeof(float)); }

void put(const float* x, uint16_t* cache, int64_t dim) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store_half(cache + i, load(x + i));
  for (; i < dim; ++i) cache[i] = to_half(x[i]);
}

template <typename T>
void store_tokens(const KvStoreArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    if (a.slots[t] < 0) continue;
    const int64_t block = a.slots[t] / a.block_size, offset = a.slots[t] % a.block_size;
    for (int64_t h = 0; h < a.num_heads; ++h) {
      const int64_t at = ((block * a.num_heads + h) * a.block_size + offset) * a.head_dim;
      put(a.k + t * a.k_stride + h * a.head_dim, static_cast<T*>(a.k_cache) + at, a.head_dim);
      put(a.v + t * a.v_stride + h * a.head_dim, static_cast<T*>(a.v_cache) + at, a.head_dim);
    }
  }
}

}  // namespace

void kv_store(const KvStoreArgs& a) {
  parallel_for(a.num_tokens, rows_per_thread(2 * a.num_heads * a.head_dim), [&](int64_t begin, int64_t end) {
    if (a.half_cache) store_tokens<uint16_t>(a, begin, end);
    else store_tokens<float>(a, begin, end);
  });
}

}  // namespace REDLINE_ISA
}  // namespace redline

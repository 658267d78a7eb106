// What happens to new tokens before attention reads them: their queries and keys turn, keys and values are stored.
#pragma once
#include "attention_tile.h"
#include "kv_writer.h"
#include "rotate.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

struct NewTokens {
  const RopeArgs& rope;
  const KvStoreArgs& store;
};

// All tokens, at once: queries to `q`, [tokens, heads, dim].
template <typename T>
void rope_store(const NewTokens& fresh, const float* q, int64_t q_stride, int64_t num_heads, float* rotated) {
  constexpr int64_t kChunk = 64;  // tokens whose turned keys wait in the cache of the core
  const KvStoreArgs& store = fresh.store;
  const int64_t dim = store.head_dim;
  parallel_for((store.num_tokens + kChunk - 1) / kChunk, 1, [&](int64_t begin, int64_t end) {
    thread_local Buffer buffer;
    KvStoreArgs some = store;
    some.k_stride = store.num_heads * dim;
    float* keys = buffer.need(kChunk * some.k_stride);
    for (int64_t first = begin * kChunk; first < min(end * kChunk, store.num_tokens); first += kChunk) {
      some.num_tokens = min(kChunk, store.num_tokens - first);
      for (int64_t i = 0; i < some.num_tokens; ++i) {
        const int64_t t = first + i;
        rotate(fresh.rope, t, q + t * q_stride, rotated + t * num_heads * dim, num_heads, dim);
        rotate(fresh.rope, t, store.k + t * store.k_stride, keys + i * some.k_stride, store.num_heads, dim);
      }
      some.k = keys;
      some.v = store.v + first * store.v_stride;
      some.slots = store.slots + first;
      KvWriter<T>(some).write(0, some.num_tokens);
    }
  });
}

// One head of one token, by whoever is about to read it.
template <typename T>
void rope_store_head(const NewTokens& fresh, int64_t token, int64_t head, Buffer& buffer) {
  const KvStoreArgs& store = fresh.store;
  float* keys = buffer.need(store.head_dim);
  rotate(fresh.rope, token, store.k + token * store.k_stride + head * store.head_dim, keys, 1, store.head_dim);
  KvWriter<T>(store).write_head(token, head, keys);
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

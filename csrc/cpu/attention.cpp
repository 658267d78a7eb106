// Paged causal attention as a tiled online softmax.
//
// Keys are visited in tiles of kTile at absolute positions, tiles are grouped in splits of kSplit keys, and a
// row's result is: within a split, the online softmax over its tiles in order; then the splits joined in order.
// Neither size depends on what else is in the call, and a key that a row may not see adds an exact zero, so a
// row has the same bits in a decode, a chunk and a prefill. Splits are what threads share when there are
// few rows; when there are many, a thread takes a block of rows through all splits.
#include "attention_float.h"
#include "attention_int8.h"
#include "attention_worker.h"
#include "cpu/declare.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kSerialWork = 1 << 17;   // multiply-adds below which a thread is not worth waking
constexpr int64_t kItemsPerThread = 4;     // of about the same work, so that threads end together
constexpr int64_t kGrabsPerThread = 8;     // times that a thread takes items
constexpr int64_t kFewRows = 48;           // a smaller item would spend its time on copies of tiles
constexpr int64_t kKeptPartials = 1 << 20; // floats

// The work of a call: items that threads take in any order, and those that then join partial states.
struct Plan {
  std::vector<Item> items, joins;
  std::vector<int64_t> work;  // of each item, in multiply-adds
  int64_t total_work = 0, partial_floats = 0;
};

void plan_sequence(const AttentionArgs& a, int64_t sequence, int64_t rows, int64_t heads, Plan& plan) {
  const int64_t begin = a.query_start[sequence], count = a.query_start[sequence + 1] - begin;
  const int64_t group = a.num_heads / a.num_kv_heads, block = max(1, rows / group);
  const int64_t start = a.context_lens[sequence] - count;
  // Later blocks see more keys; they go first so that threads end together.
  for (int64_t token = (count - 1) / block * block; count > 0 && token >= 0; token -= block)
    for (int64_t head = 0; head < a.num_kv_heads; head += heads) {
      const int64_t tokens = min(block, count - token), position = start + token;
      const int64_t oldest = a.window > 0 ? max(0, position + 1 - a.window) : 0;
      plan.items.push_back({sequence, head, heads, begin + token, tokens, position, oldest / kSplit,
                            (position + tokens - 1) / kSplit + 1, -1});
      plan.work.push_back((position + tokens - oldest) * tokens * heads * group * a.head_dim * 2);
      plan.total_work += plan.work.back();
    }
}

// Cut the keys of items that are too large a share of the work.
template <typename W>
void share_splits(const AttentionArgs& a, Plan& plan) {
  const int64_t share = plan.total_work / (kItemsPerThread * num_threads()) + 1;
  const int64_t group = a.num_heads / a.num_kv_heads, whole = static_cast<int64_t>(plan.items.size());
  for (int64_t i = 0; i < whole; ++i) {
    Item& item = plan.items[i];
    const int64_t splits = item.end_split - item.first_split, parts = min(splits, plan.work[i] / share + 1);
    if (parts < 2) continue;
    const int64_t floats = W::state_floats(item.num_tokens * item.num_kv_heads * group, round_up(a.head_dim, kWide));
    item.partial = plan.partial_floats;
    plan.partial_floats += splits * floats;
    plan.joins.push_back(item);
    const Item all = item;
    for (int64_t part = 0; part < parts; ++part) {
      Item some = all;
      some.first_split = all.first_split + splits * part / parts;
      some.end_split = all.first_split + splits * (part + 1) / parts;
      some.partial += (some.first_split - all.first_split) * floats;
      if (part == 0) plan.items[i] = some;
      else plan.items.push_back(some);
    }
  }
}

template <typename Products>
int64_t item_rows(const AttentionArgs& a) {
  int64_t rows = 0;
  for (int64_t s = 0; s < a.num_sequences; ++s) rows += (a.query_start[s + 1] - a.query_start[s]) * a.num_heads;
  return max(kFewRows, min(Products::kItemRows, rows / (kItemsPerThread * num_threads())));
}

// The KV heads of an item: all where each is one token and there are splits enough for all threads without cutting
// them by head. Blocks then come from memory in one piece.
int64_t item_heads(const AttentionArgs& a, bool decodes) {
  if (!decodes || a.block_size % kWide != 0 || a.head_dim % kWide != 0) return 1;
  int64_t splits = 0;
  for (int64_t s = 0; s < a.num_sequences; ++s) splits += round_up(a.context_lens[s], kSplit) / kSplit;
  return splits < kItemsPerThread * num_threads() ? 1 : a.num_kv_heads;
}

bool only_decodes(const AttentionArgs& a) {
  for (int64_t s = 0; s < a.num_sequences; ++s)
    if (a.query_start[s + 1] - a.query_start[s] > 1) return false;
  return true;
}

// Does whatever belongs to `fresh` first: for decodes, each item its own part, whose cache lines it reads anyway.
template <typename Products>
void run(AttentionArgs a, const NewTokens* fresh) {
  using W = Worker<Products>;
  using T = typename W::T;
  const bool decodes = only_decodes(a);
  if (fresh && !decodes) {
    rope_store<T>(*fresh, a.q, a.q_stride, a.num_heads, a.out);
    a.q = a.out;
    a.q_stride = a.num_heads * a.head_dim;
    fresh = nullptr;
  }
  thread_local Plan plan;
  thread_local Buffer partials;
  plan.items.clear();
  plan.joins.clear();
  plan.work.clear();
  plan.total_work = plan.partial_floats = 0;
  const int64_t rows = item_rows<Products>(a), heads = item_heads(a, decodes);
  for (int64_t s = 0; s < a.num_sequences; ++s) plan_sequence(a, s, rows, heads, plan);
  const bool serial = plan.total_work < kSerialWork || num_threads() == 1;
  if (!serial) share_splits<W>(a, plan);
  const std::vector<Item>&items = plan.items, &joins = plan.joins;
  float* states = partials.need(plan.partial_floats);
  const auto scratch = []() -> typename W::Scratch& {
    thread_local typename W::Scratch memory;
    return memory;
  };
  // A few at a time, since an item asks for the first keys of the one behind it.
  const int64_t count = items.size(), grain = serial ? count : count / (kGrabsPerThread * num_threads());
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      W(a, items[i], scratch(), fresh).run(states, i + 1 < end ? &items[i + 1] : nullptr);
  });
  parallel_for(joins.size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) W(a, joins[i], scratch()).finish(states);
  });
  partials.keep_at_most(kKeptPartials);
}

template <typename T>
struct ProductsOf {
  using type = FloatProducts<T>;
};
template <>
struct ProductsOf<int8_t> {
  using type = Int8Products;
};

void run_format(const AttentionArgs& a, const NewTokens* fresh) {
  with_element(a.cache, [&](auto element) { run<typename ProductsOf<decltype(element)>::type>(a, fresh); });
}

}  // namespace

void attention(const AttentionArgs& a) { run_format(a, nullptr); }

void rope_attention(const RopeArgs& rope, const KvStoreArgs& store, const AttentionArgs& a) {
  const NewTokens fresh = {rope, store};
  run_format(a, &fresh);
}

}  // namespace REDLINE_ISA
}  // namespace redline

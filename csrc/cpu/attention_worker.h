// Causal attention of one item: an online softmax over tiles of keys.
#pragma once
#include "attention_tile.h"
#include "rope_store.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

const float kInfinity = __builtin_inff();
constexpr float kLog2e = 1.44269504089f;
constexpr float kSlack = 8.0f;  // in units of log 2: weights stay below 256

// The running softmax of some rows: maximum, sums of exponentials (by key % 16), weighted sums of values.
struct State {
  float *maximum, *totals, *values;

  static int64_t floats(int64_t rows, int64_t padded) { return round_up(rows * (kWide + padded + 1), kWide); }
  static State at(float* memory, int64_t rows, int64_t padded) {
    return {memory + (kWide + padded) * rows, memory, memory + kWide * rows};
  }
};

template <typename Products>
struct WorkerScratch {
  typename Products::Scratch products;
  Buffer gathered, scales, scores, part, joined, rotated;
};

// Products: what multiplies, FloatProducts or Int8Products.
template <typename Products>
class Worker {
 public:
  using T = typename Products::Element;
  using F = Format<T>;
  using Scratch = WorkerScratch<Products>;

  // With `fresh`, the item is one token, whose query has yet to be turned and whose key and value to be stored.
  Worker(const AttentionArgs& args, const Item& item, Scratch& scratch, const NewTokens* fresh = nullptr)
      : a_(args), item_(item), s_(scratch), fresh_(fresh), dim_(args.head_dim), padded_(round_up(dim_, kWide)),
        group_(args.num_heads / args.num_kv_heads), head_rows_(item.num_tokens * group_),
        rows_(item.num_kv_heads * head_rows_), scale_groups_(F::groups(dim_)) {}

  // The floats of a state of `rows` rows, some of which only fill a block.
  static int64_t state_floats(int64_t rows, int64_t padded) {
    return State::floats(round_up(rows, Products::kRowBlock), padded);
  }

  // `following`: the item that this thread will do next, to ask for its first keys ahead.
  void run(float* partials, const Item* following = nullptr) {
    Products products(rows_, item_.num_tokens, dim_, s_.products);
    scales_.keys = s_.scales.need(2 * scale_groups_ * kTile);
    scales_.values = scales_.keys + scale_groups_ * kTile;
    CachedHead<T> cache(a_, item_, s_.gathered, scales_);
    scores_ = s_.scores.need(scale_groups_ * Products::kPlane);
    following_ = following;
    load_queries(products);
    if (fresh_ && item_.sees_last()) announce();
    for (int64_t split = item_.first_split; split < item_.end_split; ++split) {
      const bool first = split == item_.first_split && a_.window <= 0;  // of all rows
      const State part = item_.partial >= 0 ? partial(partials, split) : state(first ? s_.joined : s_.part);
      attend_split(products, cache, split, part);
      if (item_.partial < 0 && !first) join(split, part);
    }
    if (item_.partial < 0) write();
  }

  // Join the partial states of the item's splits, which other threads may have filled.
  void finish(float* partials) {
    for (int64_t split = item_.first_split; split < item_.end_split; ++split) join(split, partial(partials, split));
    write();
  }

 private:
  // The new token is stored when its tile comes up: while a write waits for its line, the processor takes reads from
  // other pages with the same offset for reads of what is being written. Keys that are copied out of a tile when it
  // is looked up have to be there before.
  bool stores_late() const { return reads_in_place<T>(a_); }
  void announce() {
    if (stores_late()) KvWriter<T>(fresh_->store).fetch(item_.token, item_.kv_head, item_.kv_head + item_.num_kv_heads);
    else store_token();
  }
  void store_token() {
    for (int64_t h = 0; h < item_.num_kv_heads; ++h)
      rope_store_head<T>(*fresh_, item_.token, item_.kv_head + h, s_.rotated);
  }

  // Several KV heads belong to one token.
  int64_t token_of(int64_t row) const { return item_.num_tokens == 1 ? 0 : row / group_; }
  // Calls f(first row, row behind the last) for each KV head, of some tokens.
  template <typename Function>
  void each_head(Range tokens, const Function& f) const {
    for (int64_t row = 0; row < rows_; row += head_rows_) f(row + tokens.begin * group_, row + tokens.end * group_);
  }

  int64_t padded_rows() const { return round_up(rows_, Products::kRowBlock); }
  State state(Buffer& buffer) const {
    return State::at(buffer.need(state_floats(rows_, padded_)), padded_rows(), padded_);
  }
  State partial(float* partials, int64_t split) const {
    const int64_t index = split - item_.first_split;
    return State::at(partials + item_.partial + index * state_floats(rows_, padded_), padded_rows(), padded_);
  }

  void load_queries(Products& products) {
    // Without a cap, scores are kept in units of log 2: the softmax is then one of powers of two.
    const float scale = a_.soft_cap > 0.0f ? a_.scale : a_.scale * kLog2e;
    const int64_t heads = item_.num_kv_heads * group_;
    for (int64_t t = 0; t < item_.num_tokens; ++t) {
      const int64_t token = item_.token + t;
      const float* q = a_.q + token * a_.q_stride + item_.kv_head * group_ * dim_;
      if (fresh_) {
        float* rotated = s_.rotated.need(heads * dim_);
        rotate(fresh_->rope, token, q, rotated, heads, dim_);
        q = rotated;
      }
      for (int64_t h = 0; h < heads; ++h) products.set_query(t * group_ + h, q + h * dim_, scale);
    }
  }

  void attend_split(Products& products, CachedHead<T>& cache, int64_t split, State part) {
    for (int64_t r = 0; r < rows_; ++r) part.maximum[r] = -kInfinity;
    std::memset(part.totals, 0, rows_ * kWide * sizeof(float));
    std::memset(part.values, 0, rows_ * padded_ * sizeof(float));
    for (int64_t first = split * kSplit; first < (split + 1) * kSplit; first += kTile) {
      const Range tokens = item_.tokens_seeing(a_.window, first, first + kTile);
      if (tokens.begin == tokens.end) continue;
      tile_keys_ = seen(tokens.begin, tokens.end, first);
      tile_ = &cache.find(first, tile_keys_);
      const int64_t next = first + kTile;
      next_tile_ = products.fetches_ahead() ? &tile_behind(cache, next) : tile_;
      if (fresh_ && stores_late() && item_.position < next) store_token();
      for (int64_t h = 0; h < item_.num_kv_heads; ++h) {
        if (F::kScaled) cache.load_scales_of(h, first, tile_keys_);
        head_ = h * cache.head_elements();
        products.load(*tile_, *next_tile_, head_, tile_keys_);
        attend_head(products, first, h * head_rows_, tokens, part);
      }
    }
  }

  void attend_head(Products& products, int64_t first, int64_t first_row, Range tokens, State part) {
    const int64_t begin = tokens.begin * group_ / Products::kRowBlock * Products::kRowBlock;
    for (int64_t row = begin; row < tokens.end * group_; row += Products::kRowBlock)
      attend_rows(products, first, first_row + row, min(Products::kRowBlock, head_rows_ - row), part);
  }

  // The tile that is read next: at position `next`, or where that is beyond this item, the first of the following.
  const Tile<T>& tile_behind(CachedHead<T>& cache, int64_t next) {
    if (next < min(item_.end_split * kSplit, item_.position + item_.num_tokens))
      return cache.find_next(next, seen(0, item_.num_tokens, next));
    if (!following_ || !reads_in_place<T>(a_)) return *tile_;
    const int64_t first = following_->first_tile(a_.window);
    const Range visible = following_->visible(0, a_.window, first, first + kTile);
    const Range keys = {visible.begin - first, visible.end - first};
    CachedHead<T> cache_behind(a_, *following_, s_.gathered, scales_);
    behind_ = cache_behind.find_next(first, keys);
    cache_behind.fetch_behind(behind_, keys, tile_keys_.end);
    return behind_;
  }

  // The keys of the tile at `first` that any of the tokens sees; empty when none is.
  Range seen(int64_t begin_token, int64_t end_token, int64_t first) const {
    const Range tokens = item_.tokens_seeing(a_.window, first, first + kTile);
    const int64_t begin = max(begin_token, tokens.begin), end = min(end_token, tokens.end);
    if (begin >= end) return {0, 0};
    return {item_.visible(begin, a_.window, first, first + kTile).begin - first,
            item_.visible(end - 1, a_.window, first, first + kTile).end - first};
  }

  void attend_rows(Products& products, int64_t first, int64_t row, int64_t rows, State part) {
    const Range keys = seen(token_of(row), token_of(row + rows - 1) + 1, first);
    if (keys.begin == keys.end) return;
    constexpr int64_t kStep = Products::kStep;
    const Range steps = {keys.begin / kStep * kStep, round_up(keys.end, kStep)};
    products.score(row, rows, steps, scores_);
    bool all_see_all = true;
    for (int64_t r = 0; r < rows; ++r) all_see_all &= softmax(row + r, first, keys, steps, scores_ + r * kTile, part);
    if (all_see_all || products.finite()) products.weigh(rows, keys, scores_, part.values + row * padded_);
    else weigh_by_token(products, first, row, rows, part);
  }

  // A value that is not a number times a weight of zero is not zero: only those who see it may get it.
  void weigh_by_token(Products& products, int64_t first, int64_t row, int64_t rows, State part) {
    for (int64_t r = 0; r < rows;) {
      const int64_t token = token_of(row + r), count = min(rows - r, group_ - (row + r) % group_);
      const Range keys = seen(token, token + 1, first);
      if (keys.begin < keys.end)
        products.weigh(count, keys, scores_ + r * kTile, part.values + (row + r) * padded_);
      r += count;
    }
    products.load(*tile_, *next_tile_, head_, tile_keys_);
  }

  // Turn a row's scores into weights relative to its new maximum, and rescale what it has so far. Returns
  // whether the row sees all of `keys`.
  bool softmax(int64_t r, int64_t first, Range keys, Range steps, float* scores, State part) {
    const Range visible = item_.visible(token_of(r), a_.window, first, first + kTile);
    const Range sees = {visible.begin - first, visible.end - first};
    if (sees.begin >= sees.end) {
      for (int64_t g = 0; g < scale_groups_; ++g)
        std::memset(scores + g * Products::kPlane + steps.begin, 0, (steps.end - steps.begin) * sizeof(float));
      return false;
    }
    finish_scores(scores, steps);
    const int64_t count = (steps.end - steps.begin) / kWide;
    if (count == 4) weigh_strips<4>(r, steps.begin, sees, scores, part);
    else if (count == 3) weigh_strips<3>(r, steps.begin, sees, scores, part);
    else if (count == 2) weigh_strips<2>(r, steps.begin, sees, scores, part);
    else weigh_strips<1>(r, steps.begin, sees, scores, part);
    if (F::kScaled)  // the scale of a key that the row may not see can be anything
      for (int64_t g = 0; g < scale_groups_; ++g) {
        float* weights = scores + g * Products::kPlane;
        for (int64_t j = steps.begin; j < sees.begin; ++j) weights[j] = 0.0f;
        for (int64_t j = sees.end; j < steps.end; ++j) weights[j] = 0.0f;
      }
    return sees.begin == keys.begin && sees.end == keys.end;
  }

  // Weights are relative to a maximum that is raised only when a score exceeds it by more than kSlack: whether it
  // is takes one comparison, while finding and raising it takes as long as the exponentials (as in FlashAttention-4).
  template <int Strips>
  void weigh_strips(int64_t r, int64_t begin, Range sees, float* scores, State part) const {
    f32x16 weights[Strips];
    for (int i = 0; i < Strips; ++i) {
      const int64_t j = begin + i * kWide;
      weights[i] = load16(scores + j);
      if (j < sees.begin || j + kWide > sees.end)
        weights[i] = select_lanes(sees.begin - j, sees.end - j, weights[i], splat16(-kInfinity));
    }
    f32x16 highest = weights[0];
    for (int i = 1; i < Strips; ++i) highest = max(highest, weights[i]);
    f32x16 totals = load16(part.totals + r * kWide);
    float maximum = part.maximum[r];
    if (any_above(highest, maximum + kSlack)) {
      const float before = maximum;
      maximum = max_lane(highest);
      const f32x16 shrink = exp2_16(splat16(before - maximum));
      part.maximum[r] = maximum;
      totals = totals * shrink;
      float* values = part.values + r * padded_;
      for (int64_t d = 0; d < padded_; d += kWide) store16(values + d, load16(values + d) * shrink);
    }
    for (int i = 0; i < Strips; ++i) weights[i] = exp2_16(weights[i] - splat16(maximum));
    for (int i = 0; i < Strips; ++i) {
      const int64_t j = begin + i * kWide;
      totals = totals + weights[i];
      if (!F::kScaled) store16(scores + j, weights[i]);
      else
        for (int64_t g = 0; g < scale_groups_; ++g)
          store16(scores + g * Products::kPlane + j, weights[i] * load16(scales_.values + g * kTile + j));
    }
    store16(part.totals + r * kWide, totals);
  }

  void finish_scores(float* scores, Range steps) const {
    if (F::kScaled)
      for (int64_t j = steps.begin; j < steps.end; j += kWide) {
        f32x16 score = load16(scores + j) * load16(scales_.keys + j);
        for (int64_t g = 1; g < scale_groups_; ++g)
          score = fma(load16(scores + g * Products::kPlane + j), load16(scales_.keys + g * kTile + j), score);
        store16(scores + j, score);
      }
    if (a_.soft_cap > 0.0f)
      for (int64_t j = steps.begin; j < steps.end; j += kLanes)
        store(scores + j, splat(a_.soft_cap * kLog2e) * tanh(load(scores + j) / splat(a_.soft_cap)));
  }

  void join(int64_t split, State part) {
    const Range tokens = item_.tokens_seeing(a_.window, split * kSplit, (split + 1) * kSplit);
    each_head(tokens, [&](int64_t begin, int64_t end) { join_rows(split, part, begin, end); });
  }

  void join_rows(int64_t split, State part, int64_t begin, int64_t end) {
    const State joined = state(s_.joined);
    for (int64_t r = begin; r < end; ++r) {
      float *totals = joined.totals + r * kWide, *values = joined.values + r * padded_;
      const float *more_totals = part.totals + r * kWide, *more = part.values + r * padded_;
      const float before = joined.maximum[r], now = part.maximum[r];
      if (item_.visible(token_of(r), a_.window).begin / kSplit >= split) {  // its first split
        joined.maximum[r] = now;
        std::memcpy(totals, more_totals, kWide * sizeof(float));
        std::memcpy(values, more, padded_ * sizeof(float));
        continue;
      }
      const float maximum = now > before ? now : before;
      const f32x16 a = exp2_16(splat16(before - maximum)), b = exp2_16(splat16(now - maximum));
      joined.maximum[r] = maximum;
      store16(totals, load16(totals) * a + load16(more_totals) * b);
      for (int64_t d = 0; d < padded_; d += kWide) store16(values + d, load16(values + d) * a + load16(more + d) * b);
    }
  }

  // Adding zero makes a negative zero positive: which keys were skipped must not show in its sign.
  void write() {
    const State joined = state(s_.joined);
    for (int64_t r = 0; r < rows_; ++r) {
      if (F::kRotated) hadamard(joined.values + r * padded_, dim_);
      const int64_t head = (item_.kv_head + r / head_rows_) * group_ + r % group_;
      float* out = a_.out + ((item_.token + token_of(r)) * a_.num_heads + head) * dim_;
      const f32x16 factor = splat16(1.0f / sum(load16(joined.totals + r * kWide)));
      for (int64_t d = 0; d < dim_; d += kWide) {
        const f32x16 value = load16(joined.values + r * padded_ + d) * factor + splat16(0.0f);
        if (d + kWide <= dim_) store16(out + d, value);
        else store16_first(out + d, dim_ - d, value);
      }
    }
  }

  const AttentionArgs& a_;
  const Item& item_;
  Scratch& s_;
  const NewTokens* fresh_;
  const int64_t dim_, padded_, group_, head_rows_, rows_, scale_groups_;
  const Item* following_ = nullptr;
  Tile<T> behind_;  // the first of the following item
  const Tile<T> *tile_ = nullptr, *next_tile_ = nullptr;
  Range tile_keys_ = {0, 0};
  int64_t head_ = 0;  // elements from the first head of the item to the one at work
  Scales scales_ = {nullptr, nullptr};
  float* scores_ = nullptr;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

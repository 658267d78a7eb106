// Paged causal attention as a tiled online softmax.
//
// Keys are visited in tiles of kTile at absolute positions, tiles are grouped in splits of kSplit keys, and a
// row's result is: within a split, the online softmax over its tiles in order; then the splits joined in order.
// Neither size depends on what else is in the call, and a key that a row may not see adds an exact zero, so a
// row has the same bits in a decode, a chunk and a prefill. Splits are what threads share when there are
// few rows; when there are many, a thread takes a block of rows through all splits.
#include <vector>

#include "cpu/declare.h"
#include "half.h"
#include "threads.h"
#include "vmath.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kTile = 64;    // keys per tile
constexpr int64_t kSplit = 256;  // keys per split, a multiple of kTile
constexpr int64_t kPanel = 32;   // keys that scratch keeps side by side
constexpr int64_t kStrip = 16;   // keys that are skipped or computed together
constexpr int64_t kFewRows = 3;  // at most: take 32 columns at once, to keep the multipliers busy
constexpr int64_t kRows = 48;    // query rows (tokens x heads of one group) per tile, about
constexpr int64_t kSerialWork = 1 << 17;  // multiply-adds below which a thread is not worth waking
const float kInfinity = __builtin_inff();

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

float exp(float x) {
  float t[kLanes];
  store(t, exp(splat(x)));
  return t[0];
}

#if REDLINE_ISA_avx2
inline __attribute__((always_inline)) void transpose(f32x8* r) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    a[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}
#else
inline void transpose(f32x8* r) {
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < i; ++j) {
      const float t = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = t;
    }
}
#endif

inline f32x8 read(const float* p) { return load(p); }
inline f32x8 read(const uint16_t* p) { return load_half(p); }
template <typename T>
f32x8 read_first(const T* p, int64_t n) {
  T t[kLanes] = {};
  std::memcpy(t, p, n * sizeof(T));
  return read(t);
}

// c[r, :] += sum over i of a[r, i] * b[i, :], i in order; c has Vectors * 8 columns.
template <int Rows, int Vectors>
void multiply(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
  f32x8 acc[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) acc[r][v] = load(c + r * ldc + v * kLanes);
  for (int64_t i = 0; i < depth; ++i) {
    f32x8 row[Vectors];
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + i * ldb + v * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const f32x8 factor = splat(a[r * lda + i]);
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(factor, row[v], acc[r][v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) store(c + r * ldc + v * kLanes, acc[r][v]);
}

template <int Vectors>
void multiply_rows(int64_t rows, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                   int64_t depth) {
  if constexpr (Vectors < 4)
    for (; rows >= 6; rows -= 6, a += 6 * lda, c += 6 * ldc) multiply<6, Vectors>(a, lda, b, ldb, c, ldc, depth);
  switch (rows) {
    case 5: if constexpr (Vectors < 4) multiply<5, Vectors>(a, lda, b, ldb, c, ldc, depth); return;
    case 4: if constexpr (Vectors < 4) multiply<4, Vectors>(a, lda, b, ldb, c, ldc, depth); return;
    case 3: return multiply<3, Vectors>(a, lda, b, ldb, c, ldc, depth);
    case 2: return multiply<2, Vectors>(a, lda, b, ldb, c, ldc, depth);
    case 1: return multiply<1, Vectors>(a, lda, b, ldb, c, ldc, depth);
    default: return;
  }
}

// c[rows, width] += a[rows, depth] * b[depth, width]; width is a multiple of 8.
void multiply_add(int64_t rows, int64_t width, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, int64_t depth) {
  int64_t at = 0;
  if (rows <= kFewRows)
    for (; at + 32 <= width; at += 32) multiply_rows<4>(rows, a, lda, b + at, ldb, c + at, ldc, depth);
  for (; at + 16 <= width; at += 16) multiply_rows<2>(rows, a, lda, b + at, ldb, c + at, ldc, depth);
  if (at < width) multiply_rows<1>(rows, a, lda, b + at, ldb, c + at, ldc, depth);
}

// The running softmax of some rows: maximum, sum of exponentials, weighted sum of values.
struct State {
  float *maximum, *total, *values;
};

// Where one thread works; grown once, kept for the next call.
struct Scratch {
  std::vector<float> memory;
  float *queries, *keys, *values, *scores;
  State part, joined;

  void prepare(int64_t rows, int64_t dim, int64_t padded) {
    const int64_t sizes[] = {rows * dim, padded * kTile, padded * kTile, rows * kTile,
                             rows, rows, rows * padded, rows, rows, rows * padded};
    float** fields[] = {&queries, &keys, &values, &scores, &part.maximum, &part.total, &part.values,
                        &joined.maximum, &joined.total, &joined.values};
    int64_t need = 0;
    for (int64_t size : sizes) need += (size + 15) / 16 * 16;
    if (static_cast<int64_t>(memory.size()) < need) memory.resize(need);
    float* next = memory.data();
    for (int i = 0; i < 10; ++i) {
      *fields[i] = next;
      next += (sizes[i] + 15) / 16 * 16;
    }
  }
};

// Some query tokens of one sequence with all query heads of one KV head, over some splits of its keys.
// Row r is token r / group, head r % group.
struct Item {
  int64_t sequence, kv_head;
  int64_t token, num_tokens;     // rows of q and out
  int64_t position;              // of the first token
  int64_t first_split, end_split;
  int64_t partial;               // which partial state it fills; -1: it covers all splits and writes out
};

struct Range {
  int64_t begin, end;
};

template <typename T>
class Worker {
 public:
  Worker(const AttentionArgs& args, const Item& item, Scratch& scratch)
      : a_(args), item_(item), s_(scratch), dim_(args.head_dim), padded_((dim_ + 7) / 8 * 8),
        group_(args.num_heads / args.num_kv_heads), rows_(item.num_tokens * group_) {}

  void run(float* partials) {
    s_.prepare(rows_, dim_, padded_);
    load_queries();
    if (item_.partial >= 0) {
      const State part = partial_state(partials, item_.partial, rows_);
      attend_split(item_.first_split, part);
      return;
    }
    for (int64_t split = item_.first_split; split < item_.end_split; ++split) {
      attend_split(split, s_.part);
      join(split, s_.part);
    }
    write();
  }

  // Join the partial states of the item's splits, which other threads may have filled.
  void finish(float* partials) {
    s_.prepare(rows_, dim_, padded_);
    for (int64_t split = item_.first_split; split < item_.end_split; ++split)
      join(split, partial_state(partials, item_.partial + split - item_.first_split, rows_));
    write();
  }

  static int64_t partial_size(int64_t rows, int64_t padded) { return rows * (padded + 2); }

 private:
  State partial_state(float* partials, int64_t index, int64_t rows) const {
    float* base = partials + index * partial_size(a_.partial_rows, padded_);
    return {base, base + rows, base + 2 * rows};
  }

  // The keys that a token of this item sees, and those among [begin, end).
  Range visible(int64_t token) const {
    const int64_t end = item_.position + token + 1;
    return {a_.window > 0 ? max(0, end - a_.window) : 0, end};
  }
  Range visible(int64_t token, int64_t begin, int64_t end) const {
    const Range all = visible(token);
    return {max(all.begin, begin), min(all.end, end)};
  }
  // The tokens that see any key of [begin, end): adjacent, because both ends of visible() only grow.
  Range tokens_seeing(int64_t begin, int64_t end) const {
    int64_t first = 0, last = item_.num_tokens;
    while (first < last && visible(first).end <= begin) ++first;
    while (last > first && visible(last - 1).begin >= end) --last;
    return {first, last};
  }

  void load_queries() {
    for (int64_t r = 0; r < rows_; ++r) {
      const float* q = a_.q + (item_.token + r / group_) * a_.q_stride + (item_.kv_head * group_ + r % group_) * dim_;
      for (int64_t d = 0; d < dim_; ++d) s_.queries[r * dim_ + d] = q[d] * a_.scale;
    }
  }

  void attend_split(int64_t split, State part) {
    for (int64_t r = 0; r < rows_; ++r) {
      part.maximum[r] = -kInfinity;
      part.total[r] = 0.0f;
    }
    std::memset(part.values, 0, rows_ * padded_ * sizeof(float));
    for (int64_t tile = split * kSplit; tile < (split + 1) * kSplit; tile += kTile) attend_tile(tile, part);
  }

  void attend_tile(int64_t tile, State part) {
    const Range tokens = tokens_seeing(tile, tile + kTile);
    if (tokens.begin == tokens.end) return;
    const int64_t first = visible(tokens.begin, tile, tile + kTile).begin - tile;
    const int64_t last = visible(tokens.end - 1, tile, tile + kTile).end - tile;
    const Range strip = {first / kStrip * kStrip, (last + kStrip - 1) / kStrip * kStrip};
    load_tile(tile, {first, last});
    const int64_t row = tokens.begin * group_, rows = (tokens.end - tokens.begin) * group_;
    score(row, rows, strip);
    for (int64_t r = row; r < row + rows; ++r) softmax(r, tile, strip, part);
    fetch_ahead(kTile);
    multiply_add(rows, padded_, s_.scores + row * kTile + first, kTile, s_.values + first * padded_, padded_,
                 part.values + row * padded_, padded_, last - first);
  }

  // Bring some keys of a tile into scratch as float: keys transposed, in panels [dim, 32], values as rows.
  void load_tile(int64_t tile, Range keys) {
    const T *key_rows[kTile], *value_rows[kTile];
    find(tile, keys, key_rows, value_rows);
    if (rows_ <= kFewRows) find_ahead(tile + kTile);
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      float* to = s_.values + j * padded_;
      const T* from = value_rows[j];
      int64_t d = 0;
      for (; d + kLanes <= dim_; d += kLanes) store(to + d, read(from + d));
      if (d < dim_) store(to + d, read_first(from + d, dim_ - d));
    }
    // Keys beside the wanted ones in their group of eight are masked later; any row will do for them.
    for (int64_t j = keys.begin / kLanes * kLanes; j < keys.end; j += kLanes) {
      const T* from[kLanes];
      fetch_ahead(kLanes);
      for (int64_t i = 0; i < kLanes; ++i) from[i] = key_rows[max(keys.begin, min(j + i, keys.end - 1))];
      transpose_keys(from, s_.keys + j / kPanel * kPanel * padded_ + j % kPanel);
    }
  }

  // Where the keys and values of a tile are in the cache.
  void find(int64_t tile, Range keys, const T** key_rows, const T** value_rows) const {
    const int32_t* blocks = a_.block_tables + item_.sequence * a_.max_blocks;
    int64_t block = (tile + keys.begin) / a_.block_size, offset = (tile + keys.begin) % a_.block_size;
    for (int64_t j = keys.begin; j < keys.end; ++j) {
      const int64_t at = ((blocks[block] * a_.num_kv_heads + item_.kv_head) * a_.block_size + offset) * dim_;
      key_rows[j] = static_cast<const T*>(a_.k_cache) + at;
      value_rows[j] = static_cast<const T*>(a_.v_cache) + at;
      if (++offset == a_.block_size) {
        offset = 0;
        ++block;
      }
    }
  }

  // A decode waits for memory, so the next tile is asked for while this one is worked on; a little at a
  // time, because a core keeps only some twenty requests in flight.
  void find_ahead(int64_t tile) {
    const Range keys = {0, max(0, min(kTile, visible(item_.num_tokens - 1).end - tile))};
    find(tile, keys, ahead_, ahead_ + keys.end);
    next_ahead_ = 0;
    end_ahead_ = 2 * keys.end;
  }

  void fetch_ahead(int64_t rows) {
    for (const int64_t end = min(end_ahead_, next_ahead_ + rows); next_ahead_ < end; ++next_ahead_)
      for (int64_t d = 0; d < dim_; d += 64 / sizeof(T)) __builtin_prefetch(ahead_[next_ahead_] + d, 0, 2);
  }

  void transpose_keys(const T* const* from, float* panel) const {
    int64_t d = 0;
    for (; d + kLanes <= dim_; d += kLanes) {
      f32x8 r[kLanes];
      for (int i = 0; i < kLanes; ++i) r[i] = read(from[i] + d);
      transpose(r);
      for (int i = 0; i < kLanes; ++i) store(panel + (d + i) * kPanel, r[i]);
    }
    if (d == dim_) return;
    f32x8 r[kLanes];
    for (int i = 0; i < kLanes; ++i) r[i] = read_first(from[i] + d, dim_ - d);
    transpose(r);
    for (int i = 0; i < kLanes; ++i) store(panel + (d + i) * kPanel, r[i]);
  }

  void score(int64_t row, int64_t rows, Range strip) {
    for (int64_t r = row; r < row + rows; ++r)
      std::memset(s_.scores + r * kTile + strip.begin, 0, (strip.end - strip.begin) * sizeof(float));
    for (int64_t j = strip.begin; j < strip.end;) {
      const int64_t end = min(strip.end, (j / kPanel + 1) * kPanel);
      fetch_ahead(kTile / 4);
      multiply_add(rows, end - j, s_.queries + row * dim_, dim_, s_.keys + j / kPanel * kPanel * padded_ + j % kPanel,
                   kPanel, s_.scores + row * kTile + j, kTile, dim_);
      j = end;
    }
  }

  // Turn the row's scores into weights relative to its new maximum, and rescale what it has so far.
  void softmax(int64_t r, int64_t tile, Range strip, State part) {
    float* scores = s_.scores + r * kTile;
    const Range seen = visible(r / group_, tile, tile + kTile);
    const int64_t begin = strip.begin, end = strip.end;
    if (a_.soft_cap > 0.0f)
      for (int64_t j = begin; j < end; j += kLanes)
        store(scores + j, splat(a_.soft_cap) * tanh(load(scores + j) / splat(a_.soft_cap)));
    for (int64_t j = begin; j < seen.begin - tile; ++j) scores[j] = -kInfinity;
    for (int64_t j = seen.end - tile; j < end; ++j) scores[j] = -kInfinity;
    f32x8 highest = splat(part.maximum[r]);
    for (int64_t j = begin; j < end; j += kLanes) highest = redline::REDLINE_ISA::max(highest, load(scores + j));
    const float maximum = max_lane(highest);
    f32x8 totals = splat(0.0f);
    for (int64_t j = begin; j < end; j += kLanes) {
      const f32x8 weight = exp(load(scores + j) - splat(maximum));
      store(scores + j, weight);
      totals = totals + weight;
    }
    const float shrink = exp(part.maximum[r] - maximum);
    part.maximum[r] = maximum;
    part.total[r] = part.total[r] * shrink + sum(totals);
    if (shrink != 1.0f) scale(part.values + r * padded_, shrink);
  }

  void scale(float* values, float factor) {
    for (int64_t d = 0; d < padded_; d += kLanes) store(values + d, load(values + d) * splat(factor));
  }

  void join(int64_t split, State part) {
    const Range tokens = tokens_seeing(split * kSplit, (split + 1) * kSplit);
    for (int64_t r = tokens.begin * group_; r < tokens.end * group_; ++r) {
      float *joined = s_.joined.values + r * padded_, *values = part.values + r * padded_;
      if (visible(r / group_).begin / kSplit >= split) {  // its first split
        s_.joined.maximum[r] = part.maximum[r];
        s_.joined.total[r] = part.total[r];
        std::memcpy(joined, values, padded_ * sizeof(float));
        continue;
      }
      const float before = s_.joined.maximum[r], now = part.maximum[r];
      const float maximum = now > before ? now : before;
      const float a = exp(before - maximum), b = exp(now - maximum);
      s_.joined.maximum[r] = maximum;
      s_.joined.total[r] = s_.joined.total[r] * a + part.total[r] * b;
      for (int64_t d = 0; d < padded_; d += kLanes)
        store(joined + d, load(joined + d) * splat(a) + load(values + d) * splat(b));
    }
  }

  // Adding zero makes a negative zero positive: which keys were skipped must not show in its sign.
  void write() {
    for (int64_t r = 0; r < rows_; ++r) {
      float* out = a_.out + ((item_.token + r / group_) * a_.num_heads + item_.kv_head * group_ + r % group_) * dim_;
      const f32x8 total = splat(s_.joined.total[r]);
      for (int64_t d = 0; d < dim_; d += kLanes)
        store_upto(out + d, min(kLanes, dim_ - d), load(s_.joined.values + r * padded_ + d) / total + splat(0.0f));
    }
  }

  const AttentionArgs& a_;
  const Item& item_;
  Scratch& s_;
  const int64_t dim_, padded_, group_, rows_;
  const T* ahead_[2 * kTile];
  int64_t next_ahead_ = 0, end_ahead_ = 0;
};

Scratch& scratch() {
  thread_local Scratch memory;
  return memory;
}

// The work of a call: items that threads take in any order, and those that then join partial states.
struct Plan {
  std::vector<Item> items, joins;
  int64_t partials = 0, partial_rows = 0, work = 0;
};

void plan_sequence(const AttentionArgs& a, int64_t sequence, Plan& plan) {
  const int64_t begin = a.query_start[sequence], count = a.query_start[sequence + 1] - begin;
  const int64_t group = a.num_heads / a.num_kv_heads, block = max(1, kRows / group);
  const int64_t start = a.context_lens[sequence] - count;
  // Later blocks see more keys; they go first so that threads end together.
  for (int64_t token = (count - 1) / block * block; count > 0 && token >= 0; token -= block)
    for (int64_t head = 0; head < a.num_kv_heads; ++head) {
      const int64_t tokens = min(block, count - token), position = start + token;
      const int64_t oldest = a.window > 0 ? max(0, position + 1 - a.window) : 0;
      Item item{sequence, head, begin + token, tokens, position, oldest / kSplit,
                (position + tokens - 1) / kSplit + 1, -1};
      plan.work += (position + tokens - oldest) * tokens * group * a.head_dim * 2;
      if (count > block || item.end_split - item.first_split == 1) {
        plan.items.push_back(item);
        continue;
      }
      item.partial = plan.partials;
      plan.joins.push_back(item);
      plan.partial_rows = max(plan.partial_rows, tokens * group);
      for (int64_t split = item.first_split; split < item.end_split; ++split) {
        Item part = item;
        part.first_split = split;
        part.end_split = split + 1;
        part.partial = plan.partials++;
        plan.items.push_back(part);
      }
    }
}

template <typename T>
void run(AttentionArgs a) {
  thread_local Plan plan;
  thread_local std::vector<float> partials;
  plan.items.clear();
  plan.joins.clear();
  plan.partials = plan.partial_rows = plan.work = 0;
  for (int64_t s = 0; s < a.num_sequences; ++s) plan_sequence(a, s, plan);
  a.partial_rows = plan.partial_rows;
  const int64_t padded = (a.head_dim + 7) / 8 * 8;
  const int64_t need = plan.partials * Worker<T>::partial_size(plan.partial_rows, padded);
  if (static_cast<int64_t>(partials.size()) < need) partials.resize(need);
  const std::vector<Item>&items = plan.items, &joins = plan.joins;
  float* states = partials.data();
  const int64_t grain = plan.work < kSerialWork ? static_cast<int64_t>(items.size()) : 1;
  parallel_for(items.size(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) Worker<T>(a, items[i], scratch()).run(states);
  });
  parallel_for(joins.size(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) Worker<T>(a, joins[i], scratch()).finish(states);
  });
}

}  // namespace

void attention(const AttentionArgs& a) {
  if (a.half_cache) run<uint16_t>(a);
  else run<float>(a);
}

}  // namespace REDLINE_ISA
}  // namespace redline

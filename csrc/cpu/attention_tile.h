// What a call of attention is cut into, and where its keys and values are in the paged cache.
#pragma once
#include <utility>
#include <vector>

#include "attention_vector.h"
#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kTile = 64;    // keys per tile
constexpr int64_t kStrips = kTile / kWide;
constexpr int64_t kSplit = 256;  // keys per split, a multiple of kTile

inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct Range {
  int64_t begin, end;
};

// Some query tokens of one sequence with all query heads of one KV head, over some splits of its keys.
// Row r is token r / group, head r % group.
struct Item {
  int64_t sequence, kv_head;
  int64_t token, num_tokens;  // rows of q and out
  int64_t position;           // of the first token
  int64_t first_split, end_split;
  int64_t partial;  // floats into the partial states, where the state of its first split goes; -1: it writes out

  bool sees_last() const { return end_split * kSplit > position + num_tokens - 1; }
  // The keys that a token of this item sees, and those among [begin, end).
  Range visible(int64_t t, int64_t window) const {
    const int64_t last = position + t + 1;
    return {window > 0 ? max(0, last - window) : 0, last};
  }
  Range visible(int64_t t, int64_t window, int64_t begin, int64_t end) const {
    const Range all = visible(t, window);
    return {max(all.begin, begin), min(all.end, end)};
  }
  // The tokens that see any key of [begin, end): adjacent, because both ends of visible() only grow.
  Range tokens_seeing(int64_t window, int64_t begin, int64_t end) const {
    int64_t first = max(0, begin - position), last = num_tokens;
    if (window > 0) last = min(last, end + window - position - 1);
    return {min(first, last), max(min(first, last), last)};
  }
};

// Grown when needed and kept for the next call; aligned for tiles.
class Buffer {
 public:
  float* need(int64_t count) {
    if (static_cast<int64_t>(memory_.size()) < count + 16) memory_.resize(count + 16);
    return memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64 / sizeof(float);
  }
  // Give back what one unusual call took.
  void keep_at_most(int64_t count) {
    if (static_cast<int64_t>(memory_.size()) > count) std::vector<float>().swap(memory_);
  }

 private:
  std::vector<float> memory_;
};

// Where the keys and values of one tile are: only those asked for are set.
template <typename T>
struct Tile {
  int64_t first;  // position of its first key
  const T* keys[kStrips];  // dimension d of sixteen keys at keys[strip] + d * key_stride
  int64_t key_stride;
  const T* values[kTile];  // head_dim elements each
  float key_scales[kTile], value_scales[kTile];  // int8 only
};

// Ask for the line at p, to be in the second-level cache when it is read.
template <typename T>
inline void fetch(const T* p, int64_t offset) {
  // Where there is no next tile, p may be null: no pointer arithmetic.
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + offset * sizeof(T)), 0, 2);
}

template <typename T>
constexpr bool kHasScales = sizeof(T) == 1;

// One KV head of one sequence in the cache. A block holds block_size tokens: keys as [head_dim, block_size],
// so that a vector is sixteen keys, values as [block_size, head_dim]; with int8, the float scale of each token
// behind them.
template <typename T>
class CachedHead {
 public:
  CachedHead(const AttentionArgs& a, const Item& item, Buffer& gathered)
      : keys_(static_cast<const T*>(a.k_cache)), values_(static_cast<const T*>(a.v_cache)),
        blocks_(a.block_tables + item.sequence * a.max_blocks), heads_(a.num_kv_heads), head_(item.kv_head),
        block_size_(a.block_size), dim_(a.head_dim), in_strips_(block_size_ % kWide == 0) {
    if (!in_strips_) gathered_ = reinterpret_cast<T*>(gathered.need(kTile * dim_ * sizeof(T) / sizeof(float)));
    current_->first = next_->first = -1;
  }

  // The keys [keys.begin, keys.end) of the tile that begins at position `first`.
  const Tile<T>& find(int64_t first, Range keys) {
    if (next_->first == first) std::swap(current_, next_);
    else locate(first, keys, *current_);
    return *current_;
  }

  // A tile that will be asked for next, to fetch its memory ahead; the current one where that is not worth it.
  const Tile<T>& find_next(int64_t first, Range keys) {
    if (!in_strips_ || keys.begin >= keys.end) return *current_;
    locate(first, keys, *next_);
    return *next_;
  }

 private:
  void locate(int64_t first, Range keys, Tile<T>& tile) {
    tile.first = first;
    tile.key_stride = in_strips_ ? block_size_ : kWide;
    int64_t block = (first + keys.begin) / block_size_, offset = (first + keys.begin) % block_size_;
    for (int64_t j = keys.begin; j < keys.end;) {
      const int64_t count = min(keys.end - j, block_size_ - offset);
      locate_in_block(at(blocks_[block++]), offset, j, count, tile);
      j += count;
      offset = 0;
    }
  }

  int64_t at(int64_t block) const {
    return (block * heads_ + head_) * block_size_ * (dim_ + (kHasScales<T> ? sizeof(float) : 0));
  }

  void locate_in_block(int64_t block, int64_t offset, int64_t j, int64_t count, Tile<T>& tile) {
    for (int64_t i = 0; i < count; ++i) tile.values[j + i] = values_ + block + (offset + i) * dim_;
    if (in_strips_)
      for (int64_t strip = j / kWide; strip * kWide < j + count; ++strip)
        tile.keys[strip] = keys_ + block + offset + strip * kWide - j;
    else
      gather(block + offset, j, count, tile);
    if (!kHasScales<T>) return;
    const int64_t scales = block + block_size_ * dim_ + offset * static_cast<int64_t>(sizeof(float));
    std::memcpy(tile.key_scales + j, keys_ + scales, count * sizeof(float));
    std::memcpy(tile.value_scales + j, values_ + scales, count * sizeof(float));
  }

  // Sixteen keys are not side by side: copy them one by one.
  void gather(int64_t from, int64_t j, int64_t count, Tile<T>& tile) {
    for (int64_t i = j; i < j + count; ++i, ++from) {
      T* to = gathered_ + i / kWide * kWide * dim_ + i % kWide;
      tile.keys[i / kWide] = gathered_ + i / kWide * kWide * dim_;
      for (int64_t d = 0; d < dim_; ++d) to[d * kWide] = keys_[from + d * block_size_];
    }
  }

  const T *keys_, *values_;
  const int32_t* blocks_;
  const int64_t heads_, head_, block_size_, dim_;
  const bool in_strips_;
  T* gathered_ = nullptr;
  Tile<T> tiles_[2];
  Tile<T> *current_ = tiles_, *next_ = tiles_ + 1;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

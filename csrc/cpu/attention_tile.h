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

// Some query tokens of one sequence with all query heads of one KV head, over some splits of its keys; one token may
// have several KV heads, whose keys lie side by side. Rows are ordered by KV head, token, and head in the group.
struct Item {
  int64_t sequence, kv_head, num_kv_heads;
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
  // Where the first tile begins that its first token sees.
  int64_t first_tile(int64_t window) const {
    return max(visible(0, window).begin, first_split * kSplit) / kTile * kTile;
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
  int64_t first = -1;  // position of its first key
  const T* keys[kStrips];  // quad i of sixteen keys at keys[strip] + i * key_stride; see csrc/cpu/kv_format.h
  int64_t key_stride;
  const T* values[kTile];  // a row each, of the first of a quad all its rows
};

// Ask for the line at p, to be in the second-level cache when it is read.
template <typename T>
inline void fetch(const T* p, int64_t offset) {
  // Where there is no next tile, p may be null: no pointer arithmetic.
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + offset * sizeof(T)), 0, 2);
}

// Dimension d of sixteen keys, and sixteen dimensions of a value.
template <typename T>
f32x16 load_keys(const T* keys, int64_t stride, int64_t d) {
  return load16(keys + d * stride);
}
inline f32x16 load_keys(const int4x2* keys, int64_t stride, int64_t d) {
  return load16(keys + (d / kCodeGroup * kWide + d % kWide) * stride, d / kWide % 2 * 4);
}
template <typename T>
f32x16 load_value(const T* row, int64_t v) {
  return load16(row + v * kWide);
}
inline f32x16 load_value(const int4x2* row, int64_t v) { return load16(row + v / 2 * kWide, v % 2 * 4); }

// The scales of a tile as floats, group by group; what was not asked for can be anything.
struct Scales {
  float *keys, *values;
};

// Floats may lie anywhere, behind codes of one byte.
inline void load_scales(float, const void* from, int64_t count, float unit, float* to) {
  const uint8_t* scales = static_cast<const uint8_t*>(from);
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide)
    store16(to + i, load16(reinterpret_cast<const float*>(scales + i * 4)) * splat16(unit));
  for (; i < count; ++i) {
    std::memcpy(to + i, scales + i * 4, 4);
    to[i] *= unit;
  }
}
inline void load_scales(f16, const void* halves, int64_t count, float, float* to) {
  const f16* from = static_cast<const f16*>(halves);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load_half(&from[i].bits));
  for (; i < count; ++i) to[i] = from_half(from[i].bits);
}

// Whether sixteen keys are always side by side, and quads whole; else tiles are copied when they are looked up.
template <typename T>
bool reads_in_place(const AttentionArgs& a) {
  return a.block_size % kWide == 0 && Format<T>::row(a.head_dim) % Format<T>::kQuad == 0;
}

// One KV head of one sequence in the cache, or the first of several, whose blocks csrc/cpu/kv_format.h describes.
template <typename T>
class CachedHead {
 public:
  CachedHead(const AttentionArgs& a, const Item& item, Buffer& gathered, Scales scales)
      : keys_(static_cast<const T*>(a.k_cache)), values_(static_cast<const T*>(a.v_cache)),
        blocks_(a.block_tables + item.sequence * a.max_blocks), heads_(a.num_kv_heads), head_(item.kv_head),
        num_heads_(item.num_kv_heads), block_size_(a.block_size), dim_(a.head_dim), row_(Format<T>::row(dim_)),
        in_place_(reads_in_place<T>(a)), scales_(scales) {
    if (in_place_) return;
    const int64_t matrices = F::kQuad > 1 ? 2 : 1;  // keys, and values that lie in quads
    gathered_ = reinterpret_cast<T*>(gathered.need(matrices * kTile * wide_row() * sizeof(T) / sizeof(float)));
  }

  // The keys [keys.begin, keys.end) of the tile that begins at position `first`.
  const Tile<T>& find(int64_t first, Range keys) {
    if (next_->first == first) std::swap(current_, next_);
    else locate(first, keys, *current_);
    return *current_;
  }

  // A tile that will be asked for next, to fetch its memory ahead; the current one where that is not worth it.
  const Tile<T>& find_next(int64_t first, Range keys) {
    if (!in_place_ || keys.begin >= keys.end) return *current_;
    locate(first, keys, *next_);
    if (F::kScaled)
      each_block(first, keys, [&](int64_t block, int64_t offset, int64_t, int64_t count) {
        for (int64_t h = 0; h < num_heads_; ++h)
          each_group(block + h * head_elements(), offset, [&](int64_t, const T* k, const T* v) {
            for (int64_t i = 0; i < count * kScale; i += 64) fetch(k, i), fetch(v, i);
          });
      });
    return *next_;
  }

  // Ask for the part of a tile behind its first `begin` keys.
  void fetch_behind(const Tile<T>& tile, Range keys, int64_t begin) const {
    constexpr int64_t kLine = 64 / sizeof(T);
    const int64_t step = max(tile.key_stride, kLine);
    for (int64_t head = 0; head < num_heads_ * head_elements(); head += head_elements()) {
      for (int64_t strip = round_up(max(begin, keys.begin), kWide) / kWide; strip * kWide < keys.end; ++strip)
        for (int64_t i = 0; i < row_ * tile.key_stride; i += step) fetch(tile.keys[strip], head + i);
      for (int64_t j = max(begin, keys.begin) / F::kQuad * F::kQuad; j < keys.end; j += F::kQuad)
        for (int64_t i = 0; i < F::kQuad * row_; i += kLine) fetch(tile.values[j], head + i);
    }
  }

  // From a head to the next in the same block.
  int64_t head_elements() const { return block_elements<T>(block_size_, dim_); }

  // Of a head of the tile at position `first`. Only now, because a tile that is found ahead has yet to arrive from
  // memory.
  void load_scales_of(int64_t head, int64_t first, Range keys) {
    each_block(first, keys, [&](int64_t block, int64_t offset, int64_t j, int64_t count) {
      each_group(block + head * head_elements(), offset, [&](int64_t g, const T* k, const T* v) {
        load_scales(Scale(), k, count, F::kUnit, scales_.keys + g * kTile + j);
        load_scales(Scale(), v, count, F::kUnit, scales_.values + g * kTile + j);
      });
    });
  }

 private:
  using F = Format<T>;
  using Scale = typename F::Scale;
  static constexpr int64_t kScale = sizeof(Scale);

  // Calls f(where the block is, first token in it, first key in the tile, how many) for each block with such keys.
  template <typename Function>
  void each_block(int64_t first, Range keys, const Function& f) const {
    int64_t block = (first + keys.begin) / block_size_, offset = (first + keys.begin) % block_size_;
    for (int64_t j = keys.begin; j < keys.end;) {
      const int64_t count = min(keys.end - j, block_size_ - offset);
      f((blocks_[block++] * heads_ + head_) * head_elements(), offset, j, count);
      j += count;
      offset = 0;
    }
  }

  // Calls f(group, scales of the keys from a token on, those of the values). An element is a byte.
  template <typename Function>
  void each_group(int64_t block, int64_t offset, const Function& f) const {
    for (int64_t g = 0; g < F::groups(dim_); ++g) {
      const int64_t at = block + block_size_ * row_ + (g * block_size_ + offset) * kScale;
      f(g, keys_ + at, values_ + at);
    }
  }

  void locate(int64_t first, Range keys, Tile<T>& tile) {
    tile.first = first;
    tile.key_stride = (in_place_ ? block_size_ : kWide) * F::kQuad;
    each_block(first, keys, [&](int64_t block, int64_t offset, int64_t j, int64_t count) {
      locate_in_block(block, offset, j, count, tile);
    });
  }

  void locate_in_block(int64_t block, int64_t offset, int64_t j, int64_t count, Tile<T>& tile) {
    if (in_place_ || F::kQuad == 1) {
      const Range rows = read_with(j, j + count);
      for (int64_t i = rows.begin; i < rows.end; ++i) tile.values[i] = values_ + block + (offset + i - j) * row_;
    }
    if (in_place_)
      for (int64_t strip = j / kWide; strip * kWide < j + count; ++strip)
        tile.keys[strip] = keys_ + block + (offset + strip * kWide - j) * F::kQuad;
    else
      gather(block, offset, j, count, tile);
  }

  // Values in quads are read a strip of tokens at a time.
  static Range read_with(int64_t begin, int64_t end) {
    if (F::kQuad == 1) return {begin, end};
    return {begin / kWide * kWide, round_up(end, kWide)};
  }

  // Sixteen keys, or whole quads, are not side by side: copy the keys one by one, and values that lie in quads.
  void gather(int64_t block, int64_t offset, int64_t j, int64_t count, Tile<T>& tile) {
    T* values = gathered_ + kTile * wide_row();
    const Range rows = read_with(j, j + count);
    for (int64_t i = rows.begin; F::kQuad > 1 && i < rows.end; ++i) tile.values[i] = values + i * wide_row();
    for (int64_t i = j; i < j + count; ++i, ++offset) {
      T* keys = gathered_ + i / kWide * kWide * wide_row();
      tile.keys[i / kWide] = keys;
      for (int64_t e = 0; e < row_; ++e)
        keys[key_place<T>(e, i % kWide, kWide, wide_row())] = keys_[block + key_place<T>(e, offset, block_size_, row_)];
      for (int64_t e = 0; F::kQuad > 1 && e < row_; ++e)
        values[value_place<T>(e, i, kTile, wide_row())] = values_[block + value_place<T>(e, offset, block_size_, row_)];
    }
  }

  // Elements of a gathered row: quads are whole.
  int64_t wide_row() const { return round_up(row_, F::kQuad); }

  const T *keys_, *values_;
  const int32_t* blocks_;
  const int64_t heads_, head_, num_heads_, block_size_, dim_, row_;
  const bool in_place_;
  const Scales scales_;
  T* gathered_ = nullptr;
  Tile<T> tiles_[2];
  Tile<T> *current_ = tiles_, *next_ = tiles_ + 1;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

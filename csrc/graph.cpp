#include "graph.h"

namespace redline {

constexpr size_t kAlign = 64;

void* Arena::Block::start() const {
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.get()) + kAlign - 1) & ~(kAlign - 1));
}

// The smallest free block that is large enough, unless it is far too large; else a new one.
void* Arena::take(size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  Block* best = nullptr;
  for (Block& block : blocks_)
    if (!block.used && block.bytes >= bytes && block.bytes <= 2 * bytes + 4096 && (!best || block.bytes < best->bytes))
      best = &block;
  if (!best) {
    blocks_.push_back({std::unique_ptr<uint8_t[]>(new uint8_t[bytes + kAlign]), bytes, false});
    best = &blocks_.back();
  }
  best->used = true;
  return best->start();
}

void Arena::give_back(void* memory) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (Block& block : blocks_)
    if (block.start() == memory) block.used = false;
}

size_t Arena::size() const {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t total = 0;
  for (const Block& block : blocks_) total += block.bytes;
  return total;
}

int64_t Graph::replay() const {
  for (size_t i = 0; i < calls_.size(); ++i)
    if (calls_[i]() >= 0) return static_cast<int64_t>(i);
  return -1;
}

Graph*& Graph::recording() {
  thread_local Graph* graph = nullptr;
  return graph;
}

}  // namespace redline

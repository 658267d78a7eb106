// The CPU's CUDA graph: the kernel calls of one forward pass, recorded once, then replayed without Python.
//
// While a thread records, every binding adds what it runs (see perform() in bindings.cpp), and arrays come from
// the graph's arena, so that their addresses stay good. A replay runs the same calls on the same addresses; what
// changes from step to step is what the caller writes into the input arrays.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace redline {

// Memory for the arrays of graphs that never run at the same time. A block that its array gives up is used again
// by later arrays of the recording, in the same order in every replay.
class Arena {
 public:
  void* take(size_t bytes);
  void give_back(void* memory);
  size_t size() const;

 private:
  struct Block {
    std::unique_ptr<uint8_t[]> memory;
    size_t bytes;
    bool used;
    void* start() const;
  };
  std::vector<Block> blocks_;
  mutable std::mutex mutex_;  // arrays may be dropped by any thread
};

class Graph {
 public:
  using Call = std::function<int64_t()>;  // negative: done; else what was wrong, as the binding returns it

  explicit Graph(std::shared_ptr<Arena> arena) : arena_(std::move(arena)) {}
  const std::shared_ptr<Arena>& arena() const { return arena_; }
  void add(Call call) { calls_.push_back(std::move(call)); }
  size_t size() const { return calls_.size(); }

  // The index of a call that failed, or -1.
  int64_t replay() const;

  // The graph that this thread records, or null.
  static Graph*& recording();

 private:
  std::shared_ptr<Arena> arena_;
  std::vector<Call> calls_;
};

}  // namespace redline

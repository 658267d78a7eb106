#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#define REDLINE_PAUSE() _mm_pause()
#else
#define REDLINE_PAUSE() std::this_thread::yield()
#endif

namespace redline {
namespace {

// Ops follow each other within microseconds during a step, far less than a wake-up costs, so a worker
// spins this many pauses (some 100 us) for its next job before it sleeps.
constexpr int kSpins = 4000;

// A job is open while ranges of it may be left. A worker enters an open job and leaves it; run() closes the
// job and waits for those inside only, so a worker that is asleep, or that the system runs later, or that a
// fork left behind holds up nobody.
class Pool {
 public:
  // Throws std::system_error when the system has no more threads.
  explicit Pool(int threads) {
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Pool() { stop(); }

  // One call at a time.
  void run(int64_t size, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
    body_ = &body;
    size_ = size;
    grain_ = grain;
    next_.store(0, std::memory_order_relaxed);
    state_.fetch_add(kEpoch | kOpen, std::memory_order_seq_cst);  // was closed, with nobody inside
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      wake_.notify_all();
    }
    take_ranges();
    state_.fetch_sub(kOpen, std::memory_order_acq_rel);
    for (int i = 0; (state_.load(std::memory_order_acquire) & kInside) != 0; ++i) {
      if (i < kSpins)
        REDLINE_PAUSE();
      else
        std::this_thread::yield();  // more threads than processors: let the worker have this one
    }
  }

 private:
  // state_: the number of the job, whether it is open, how many workers are inside.
  static constexpr uint64_t kEpoch = uint64_t{1} << 32, kOpen = uint64_t{1} << 31, kInside = kOpen - 1;

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_.store(true);
      state_.fetch_add(kEpoch);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void take_ranges() {
    for (;;) {
      const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
      if (begin >= size_) return;
      (*body_)(begin, begin + grain_ < size_ ? begin + grain_ : size_);
    }
  }

  void work() {
    uint64_t seen = 0;
    for (;;) {
      wait_for_job(seen);
      if (stop_.load(std::memory_order_acquire)) return;
      uint64_t state = state_.load(std::memory_order_acquire);
      if (enter(state)) {
        take_ranges();
        state_.fetch_sub(1, std::memory_order_release);
      }
      seen = state / kEpoch;
    }
  }

  bool enter(uint64_t& state) {
    while (state & kOpen)
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) return true;
    return false;
  }

  bool has_job(uint64_t seen) const { return state_.load(std::memory_order_seq_cst) / kEpoch != seen; }

  void wait_for_job(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (has_job(seen)) return;
      REDLINE_PAUSE();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return has_job(seen); });
    }
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // What threads wait for and what they fight for are in lines of their own.
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  const std::function<void(int64_t, int64_t)>* body_ = nullptr;
  int64_t size_ = 0, grain_ = 1;
};

// The pool in use and who may touch it. Never destroyed: a worker must not outlive its pool, and at process
// exit the system ends both.
struct Shared {
  std::mutex turn;  // held while the pool works or is replaced
  Pool* pool = nullptr;  // null: one thread, the caller
  std::atomic<int> threads{1};
};

Shared& shared() {
  static Shared* instance = new Shared;
  return *instance;
}

}  // namespace

void set_num_threads(int count) {
  if (count < 1) throw std::invalid_argument("the number of threads must be at least 1");
  Shared& s = shared();
  std::lock_guard<std::mutex> turn(s.turn);
  if (count == s.threads.load()) return;
  delete s.pool;
  s.pool = nullptr;
  s.threads.store(1);
  if (count > 1) s.pool = new Pool(count);
  s.threads.store(count);
}

int num_threads() { return shared().threads.load(std::memory_order_relaxed); }

void parallel_for(int64_t size, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (size <= 0) return;
  if (grain < 1) grain = 1;
  Shared& s = shared();
  if (size > grain && num_threads() > 1) {
    std::lock_guard<std::mutex> turn(s.turn);
    if (s.pool) return s.pool->run(size, grain, body);
  }
  body(0, size);
}

}  // namespace redline

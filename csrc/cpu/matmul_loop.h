// What every matmul shares: rows cut into pieces that stay in the cache, outputs into tasks, a norm in front and
// a bias, a sum or a gate behind, while the data is at hand.
//
// A format is a struct with
//   Matrix                                    what it multiplies with
//   static int64_t bytes_per_row(w)           of prepared activations
//   Rows                                      prepared activations of some rows
//   static Rows allocate(w, rows)             in the scratch memory of the calling thread
//   static void prepare(w, rows, r, values)   row r of them, from its floats
//   static void multiply(w, rows, count, strips, n)   fills n <= kStrips strips of 16 outputs of all rows
#pragma once
#include <algorithm>
#include <memory>

#include "cpu/gates.h"
#include "cpu/normalise.h"
#include "kernels.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// As many rows as keep their activations in a second-level cache while all weights pass by, in multiples of
// what the kernels multiply at once. Machines with AMX have a larger one, and need more rows for what they spend
// on the weights first.
inline int64_t rows_at_once(int64_t bytes_per_row) {
#if REDLINE_ISA_amx
  return std::clamp<int64_t>((int64_t{1} << 20) / bytes_per_row, 32, 512) / 32 * 32;
#else
  return std::clamp<int64_t>((int64_t{512} << 10) / bytes_per_row, 24, 528) / 24 * 24;
#endif
}

// Strips of outputs per task: some tasks for each thread, so that a late one does not hold up the rest.
inline int64_t strips_at_once(int64_t strips) { return std::max<int64_t>(1, strips / (8 * num_threads())); }

// With few rows weights come straight from memory. The hardware's own prefetch stops at the end of a page,
// so the next ones are asked for this far ahead; past the last weight that does nothing.
constexpr int64_t kAhead = 4096;
constexpr int kFewRows = 4;
inline void prefetch(const void* from, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64)
    __builtin_prefetch(static_cast<const char*>(from) + kAhead + line);
}

// Memory of the calling thread that is kept from call to call, for one purpose.
template <int kPurpose>
uint8_t* scratch(int64_t bytes) {
  thread_local std::unique_ptr<uint8_t[]> memory;
  thread_local int64_t size = 0;
  if (bytes > size) {
    memory.reset(new uint8_t[bytes + 64]);
    size = bytes;
  }
  return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~uintptr_t{63});
}
constexpr int kRowsScratch = 0, kNormScratch = 1, kGateScratch = 2, kWholeScratch = 3, kFormatScratch = 4;

// 16 outputs of all rows: row r goes to y + r * stride. Only `lanes` of them exist.
struct Strip {
  int64_t block;
  float* y;
  int64_t stride, lanes;
};
constexpr int kStrips = 2;  // multiplied together where a format gains from that

template <typename F>
typename F::Rows prepare_rows(const MatmulInput& in, int64_t first, int64_t count, const typename F::Matrix& w) {
  const typename F::Rows rows = F::allocate(w, count);
  const int64_t grain = 1 + 16384 / w.inputs;  // fewer rows are not worth a second thread
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* values = in.x + (first + r) * in.stride;
      if (in.norm_weight) {
        float* normed = reinterpret_cast<float*>(scratch<kNormScratch>(w.inputs * sizeof(float)));
        normalise(values, in.norm_weight, in.eps, normed, w.inputs);
        values = normed;
      }
      F::prepare(w, rows, r, values);
    }
  });
  return rows;
}

// bias and addend are those of the strip's first output; null: none.
inline void finish_strip(const Strip& s, int64_t rows, const float* bias, const float* addend,
                         int64_t addend_stride) {
  if (!bias && !addend) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < s.lanes; i += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, s.lanes - i);
      f32x8 value = load_upto(s.y + r * s.stride + i, n);
      if (bias) value = value + load_upto(bias + i, n);
      if (addend) value = value + load_upto(addend + r * addend_stride + i, n);
      store_upto(s.y + r * s.stride + i, n, value);
    }
}

template <typename F>
void multiply_strips(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                     const MatmulOutput& out, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; block += kStrips) {
    Strip strips[kStrips];
    const int n = static_cast<int>(std::min<int64_t>(kStrips, end - block));
    for (int i = 0; i < n; ++i) {
      const int64_t output = (block + i) * kBlock;
      strips[i] = {block + i, out.y + first * out.stride + output, out.stride, std::min(kBlock, w.outputs - output)};
    }
    F::multiply(w, rows, count, strips, n);
    for (int i = 0; i < n; ++i) {
      const int64_t output = (block + i) * kBlock;
      finish_strip(strips[i], count, out.bias ? out.bias + output : nullptr,
                   out.addend ? out.addend + first * out.addend_stride + output : nullptr, out.addend_stride);
    }
  }
}

// One strip of gates and the strip of what they gate.
template <typename F>
void multiply_gated(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                    const MatmulOutput& out, int64_t block) {
  const int64_t half = w.outputs / 2, output = block * kBlock;
  float* gates = reinterpret_cast<float*>(scratch<kGateScratch>(2 * count * kBlock * sizeof(float)));
  float* values = gates + count * kBlock;
  const Strip strips[2] = {{block, gates, kBlock, kBlock}, {block + half / kBlock, values, kBlock, kBlock}};
  F::multiply(w, rows, count, strips, 2);
  if (out.bias)
    for (int i = 0; i < 2; ++i) finish_strip(strips[i], count, out.bias + i * half + output, nullptr, 0);
  with_gate(out.gate, [&](auto activation) {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < kBlock; i += kLanes) {
        const int64_t at = r * kBlock + i;
        store(out.y + (first + r) * out.stride + output + i, activation(load(gates + at)) * load(values + at));
      }
  });
}

inline void gate_rows(const float* both, int64_t rows, int64_t half, Gate gate, float* y, int64_t stride) {
  with_gate(gate, [=](auto activation) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < half; i += kLanes) {
        const int64_t n = std::min<int64_t>(kLanes, half - i);
        const float* from = both + 2 * r * half + i;
        store_upto(y + r * stride + i, n, activation(load_upto(from, n)) * load_upto(from + half, n));
      }
  });
}

// Gates that do not start on a strip of their own wait for all outputs.
template <typename F>
void multiply_then_gate(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                        const MatmulOutput& out) {
  float* both = reinterpret_cast<float*>(scratch<kWholeScratch>(count * w.outputs * sizeof(float)));
  const MatmulOutput whole = {both, w.outputs, out.bias, nullptr, 0, Gate::none};
  const int64_t strips = ceil_div(w.outputs, kBlock);
  parallel_for(strips, strips_at_once(strips), [&](int64_t begin, int64_t end) {
    multiply_strips<F>(w, rows, 0, count, whole, begin, end);
  });
  gate_rows(both, count, w.outputs / 2, out.gate, out.y + first * out.stride, out.stride);
}

template <typename F>
void matmul(const MatmulInput& in, const typename F::Matrix& w, const MatmulOutput& out) {
  const int64_t step = rows_at_once(F::bytes_per_row(w));
  for (int64_t first = 0; first < in.rows; first += step) {
    const int64_t count = std::min(step, in.rows - first);
    const typename F::Rows rows = prepare_rows<F>(in, first, count, w);
    if (out.gate == Gate::none) {
      const int64_t strips = ceil_div(w.outputs, kBlock);
      parallel_for(strips, strips_at_once(strips), [&](int64_t begin, int64_t end) {
        multiply_strips<F>(w, rows, first, count, out, begin, end);
      });
    } else if (w.outputs / 2 % kBlock) {
      multiply_then_gate<F>(w, rows, first, count, out);
    } else {
      const int64_t strips = w.outputs / 2 / kBlock;
      parallel_for(strips, strips_at_once(strips), [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block) multiply_gated<F>(w, rows, first, count, out, block);
      });
    }
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// What every matmul shares: rows cut into pieces that stay in the cache, outputs into tasks, a norm in front and
// a bias, a sum or a gate behind, while the data is at hand.
//
// A format is a struct with
//   Matrix                                    what it multiplies with
//   static int64_t bytes_per_row(w)           of prepared activations
//   Rows                                      prepared activations of some rows
//   static Rows allocate(w, rows)             in the scratch memory of the calling thread
//   static void prepare(w, rows, r, values)   row r of them, from its floats
//   kStrips                                   strips of 16 outputs that it multiplies together at most, even
//   static int64_t strips_together(rows)      for so many rows, even
//   static int64_t tasks_per_thread(rows)     that the strips are cut into
//   Panels                                    what it makes of the weights of some strips before
//   static Panels load(w, rows, strips, n)    of n <= kStrips strips
//   kRowsAtOnce                               after so many rows the results should be used, while they are near
//   static void multiply(w, rows, panels, first, count, strips, n)
//                                             fills rows [first, first + count) of the strips
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
  return std::clamp<int64_t>((int64_t{2} << 20) / bytes_per_row, 32, 1024) / 32 * 32;
#else
  return std::clamp<int64_t>((int64_t{512} << 10) / bytes_per_row, 24, 528) / 24 * 24;
#endif
}

// Tasks of adjacent strips: some for each thread, so that a late one does not hold up the rest. Each is cut into even
// groups of at most `most`, and body(begin, end) called for them.
template <typename F, typename Body>
void for_groups(int64_t strips, int64_t rows, int64_t most, const Body& body) {
  const int64_t task = std::max<int64_t>(1, strips / (F::tasks_per_thread(rows) * num_threads()));
  parallel_for(strips, task, [&](int64_t begin, int64_t end) {
    for (int64_t groups = ceil_div(end - begin, most); groups > 0; --groups) {
      const int64_t n = ceil_div(end - begin, groups);
      body(begin, begin + n);
      begin += n;
    }
  });
}

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
constexpr int kRowsScratch = 0, kNormScratch = 1, kGateScratch = 2, kWholeScratch = 3, kFormatScratch = 4,
              kSumsScratch = 5;

// 16 outputs of all rows: row r goes to y + r * stride. Only `lanes` of them exist.
struct Strip {
  int64_t block;
  float* y;
  int64_t stride, lanes;
};

// For formats that take weights as they are: two strips, and all rows while these are in the cache.
struct NoPanels {
  static constexpr int kStrips = 2;
  static constexpr int64_t kRowsAtOnce = int64_t{1} << 40;
  static int64_t strips_together(int64_t) { return kStrips; }
  static int64_t tasks_per_thread(int64_t rows) { return rows <= 64 ? 2 : 8; }
  struct Panels {};
  template <typename Matrix, typename Rows>
  static Panels load(const Matrix&, const Rows&, const Strip*, int) {
    return {};
  }
};

template <typename F>
typename F::Rows prepare_rows(const MatmulInput& in, int64_t first, int64_t count, const typename F::Matrix& w) {
  const typename F::Rows rows = F::allocate(w, count);
  const int64_t grain = 1 + 4096 / w.inputs;  // fewer rows are not worth a second thread
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

// What comes behind the sums of `outputs` outputs of some rows. bias and addend are those of the first; null: none.
inline void finish_rows(float* y, int64_t stride, int64_t rows, int64_t outputs, const float* bias,
                        const float* addend, int64_t addend_stride) {
  if (!bias && !addend) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < outputs; i += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, outputs - i);
      f32x8 value = load_upto(y + r * stride + i, n);
      if (bias) value = value + load_upto(bias + i, n);
      if (addend) value = value + load_upto(addend + r * addend_stride + i, n);
      store_upto(y + r * stride + i, n, value);
    }
}

// The strips [begin, end), at most kStrips.
template <typename F>
void multiply_strips(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                     const MatmulOutput& out, int64_t begin, int64_t end) {
  Strip strips[F::kStrips];
  const int n = static_cast<int>(end - begin);
  const int64_t output = begin * kBlock, outputs = std::min(end * kBlock, w.outputs) - output;
  float* y = out.y + first * out.stride + output;
  for (int i = 0; i < n; ++i)
    strips[i] = {begin + i, y + i * kBlock, out.stride, std::min(kBlock, outputs - i * kBlock)};
  const typename F::Panels panels = F::load(w, rows, strips, n);
  for (int64_t row = 0; row < count; row += F::kRowsAtOnce) {
    const int64_t some = std::min(F::kRowsAtOnce, count - row);
    F::multiply(w, rows, panels, row, some, strips, n);
    finish_rows(y + row * out.stride, out.stride, some, outputs, out.bias ? out.bias + output : nullptr,
                out.addend ? out.addend + (first + row) * out.addend_stride + output : nullptr, out.addend_stride);
  }
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

// The strips [begin, end) of gates and those of what they gate, at most kStrips together.
template <typename F>
void multiply_gated(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                    const MatmulOutput& out, int64_t begin, int64_t end) {
  Strip strips[F::kStrips];
  const int n = static_cast<int>(end - begin);
  const int64_t half = w.outputs / 2, output = begin * kBlock, outputs = n * kBlock, stride = 2 * outputs;
  const int64_t at_once = std::min(F::kRowsAtOnce, count);
  float* both = reinterpret_cast<float*>(scratch<kGateScratch>(at_once * stride * sizeof(float)));
  for (int i = 0; i < 2 * n; ++i) {
    const int64_t block = i < n ? begin + i : half / kBlock + begin + i - n;
    strips[i] = {block, both + i * kBlock, stride, kBlock};
  }
  const typename F::Panels panels = F::load(w, rows, strips, 2 * n);
  for (int64_t row = 0; row < count; row += at_once) {
    const int64_t some = std::min(at_once, count - row);
    for (int i = 0; i < 2 * n; ++i) strips[i].y = both + i * kBlock - row * stride;
    F::multiply(w, rows, panels, row, some, strips, 2 * n);
    if (out.bias) {
      finish_rows(both, stride, some, outputs, out.bias + output, nullptr, 0);
      finish_rows(both + outputs, stride, some, outputs, out.bias + half + output, nullptr, 0);
    }
    gate_rows(both, some, outputs, out.gate, out.y + (first + row) * out.stride + output, out.stride);
  }
}

// Gates that do not start on a strip of their own wait for all outputs.
template <typename F>
void multiply_then_gate(const typename F::Matrix& w, const typename F::Rows& rows, int64_t first, int64_t count,
                        const MatmulOutput& out) {
  float* both = reinterpret_cast<float*>(scratch<kWholeScratch>(count * w.outputs * sizeof(float)));
  const MatmulOutput whole = {both, w.outputs, out.bias, nullptr, 0, Gate::none};
  const int64_t strips = ceil_div(w.outputs, kBlock);
  for_groups<F>(strips, count, F::strips_together(count), [&](int64_t begin, int64_t end) {
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
      for_groups<F>(strips, count, F::strips_together(count), [&](int64_t begin, int64_t end) {
        multiply_strips<F>(w, rows, first, count, out, begin, end);
      });
    } else if (w.outputs / 2 % kBlock) {
      multiply_then_gate<F>(w, rows, first, count, out);
    } else {
      const int64_t strips = w.outputs / 2 / kBlock;
      for_groups<F>(strips, count, F::strips_together(count) / 2, [&](int64_t begin, int64_t end) {
        multiply_gated<F>(w, rows, first, count, out, begin, end);
      });
    }
  }
}

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

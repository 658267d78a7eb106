// Rows of an integer matrix: weight = scale * (code - offset) + min in float32.
#include "cpu/declare.h"
#include "cpu/int_layout.h"
#include "cpu/int_scales.h"
#include "cpu/matmul_loop.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// Calls body(Scales()) with how the matrix stores its scales.
template <int kGroup, typename Body>
void with_scales_of_group(ScaleType type, Body body) {
  switch (type) {
    case ScaleType::f32: return body(PlainScales<float, true, kGroup>());
    case ScaleType::f16: return body(PlainScales<f16, true, kGroup>());
    case ScaleType::nested8: return body(NestedScales<8, true, kGroup>());
    case ScaleType::nested4: return body(NestedScales<4, true, kGroup>());
  }
}
template <typename Body>
void with_scales(const IntMatrix& w, Body body) {
  w.group == 16 ? with_scales_of_group<16>(w.scale_type, body) : with_scales_of_group<32>(w.scale_type, body);
}

// The kGroup codes of one lane in the order of k.
template <int kBits>
inline void read_codes(const IntMatrix& w, const uint8_t* cell, int64_t lane, uint8_t* codes) {
  for (int quad = 0; quad < kQuads; ++quad) {
    const uint32_t word = read_quad<kBits>(cell, lane, quad);
    std::memcpy(codes + 4 * quad, &word, sizeof word);
  }
  if (w.codebook)
    for (int i = 0; i < kGroup; ++i) codes[i] = w.codebook[codes[i]];
}

template <int kBits, typename Scales>
void read_row(const IntMatrix& w, int64_t row, float* y) {
  const int64_t block = row / kBlock, lane = row % kBlock, groups = ceil_div(w.inputs, kGroup);
  const int64_t parts = kGroup / Scales::kGroup, scales_at = block * Scales::bytes(groups * parts);
  const uint8_t* cell = w.codes + block * groups * kCellBytes<kBits>;
  const uint8_t* scales = static_cast<const uint8_t*>(w.scales) + scales_at;
  const uint8_t* mins = w.mins ? static_cast<const uint8_t*>(w.mins) + scales_at : nullptr;
  const float offset = static_cast<float>(w.offset);
  for (int64_t g = 0; g < groups; ++g, cell += kCellBytes<kBits>) {
    uint8_t codes[kGroup];
    float values[kGroup];
    read_codes<kBits>(w, cell, lane, codes);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t s = g * parts + part, from = part * Scales::kGroup;
      const float scale = scale_at(Scales(), scales, s, lane);
      const float min = mins ? scale_at(Scales(), mins, s, lane) : 0.0f;
      for (int64_t i = from; i < from + Scales::kGroup; ++i)
        values[i] = scale * (static_cast<float>(codes[i]) - offset) + min;
    }
    std::copy_n(values, std::min(kGroup, w.inputs - g * kGroup), y + g * kGroup);
  }
}

template <int kBits>
bool embedding(const int32_t* ids, int64_t count, const IntMatrix& w, float* y) {
  with_scales(w, [&](auto scales) {
    parallel_for(count, 1 + 65536 / w.inputs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) read_row<kBits, decltype(scales)>(w, ids[i], y + i * w.inputs);
    });
  });
  return true;
}

}  // namespace

bool embedding_int(const int32_t* ids, int64_t count, const IntMatrix& w, float* y) {
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= w.outputs) return false;
  switch (w.bits) {
    case 2: return embedding<2>(ids, count, w, y);
    case 3: return embedding<3>(ids, count, w, y);
    case 4: return embedding<4>(ids, count, w, y);
    case 5: return embedding<5>(ids, count, w, y);
    case 6: return embedding<6>(ids, count, w, y);
    case 8: return embedding<8>(ids, count, w, y);
    default: return false;
  }
}

}  // namespace REDLINE_ISA
}  // namespace redline

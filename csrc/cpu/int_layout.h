// Where the code of weight [output, k] lies in an IntMatrix (see kernels.h).
//
// A cell holds kGroup inputs of the kBlock outputs of one block. Four consecutive k of one output make a
// quad: 32 bits as bytes, what one lane of a byte dot product takes; a cell has kQuads of each lane. A section of a
// cell holds a field of 1, 2, 4 or 8 bits of every code, in vectors of 64 bytes, of which byte 4 * lane + k % 4
// belongs to a lane: quad q is in vector q * width / 8, from bit q * width % 8 on. Codes of 2, 4 and 8 bits are one
// section. Those of 3, 5 and 6 have a second one behind it, which holds their upper 1, 1 or 2 bits.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

constexpr int kQuads = kGroup / 4;

template <int kBits>
constexpr int64_t kCellBytes = kBlock * kGroup * kBits / 8;

// The width of the first section, and of the second (0: there is none).
template <int kBits>
constexpr int kLowBits = kBits < 4 ? 2 : kBits < 8 ? 4 : 8;
template <int kBits>
constexpr int kHighBits = kBits - kLowBits<kBits>;

// A field of `width` bits in each byte of a quad.
constexpr uint32_t field_mask(int width) { return 0x01010101u * ((1u << width) - 1); }

template <int kWidth>
inline uint32_t read_field(const uint8_t* section, int64_t lane, int quad) {
  uint32_t word;
  std::memcpy(&word, section + 64 * (quad * kWidth / 8) + 4 * lane, sizeof word);
  return word >> quad * kWidth % 8 & field_mask(kWidth);
}

// One quad of a lane: the four codes as bytes.
template <int kBits>
inline uint32_t read_quad(const uint8_t* cell, int64_t lane, int quad) {
  constexpr int kLow = kLowBits<kBits>, kHigh = kHighBits<kBits>;
  uint32_t codes = read_field<kLow>(cell, lane, quad);
  if constexpr (kHigh > 0) codes |= read_field<kHigh>(cell + kCellBytes<kLow>, lane, quad) << kLow;
  return codes;
}

template <int kWidth>
inline void write_section(uint8_t* section, int64_t lane, const uint32_t (&quads)[kQuads], int from) {
  constexpr int kShared = 8 / kWidth;  // quads in one vector
  for (int v = 0; v < kQuads / kShared; ++v) {
    uint32_t word = 0;
    for (int i = 0; i < kShared; ++i)
      word |= (quads[v * kShared + i] >> from & field_mask(kWidth)) << i * kWidth;
    std::memcpy(section + 64 * v + 4 * lane, &word, sizeof word);
  }
}

// The kGroup codes of one lane, in the order of k, into its cell.
template <int kBits>
inline void write_codes(uint8_t* cell, int64_t lane, const uint8_t* codes) {
  constexpr int kLow = kLowBits<kBits>, kHigh = kHighBits<kBits>;
  uint32_t quads[kQuads];
  std::memcpy(quads, codes, sizeof quads);
  write_section<kLow>(cell, lane, quads, 0);
  if constexpr (kHigh > 0) write_section<kHigh>(cell + kCellBytes<kLow>, lane, quads, kLow);
}

}  // namespace REDLINE_ISA
}  // namespace redline

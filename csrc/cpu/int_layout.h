// Where the code of weight [output, k] lies in an IntMatrix (see kernels.h).
//
// A cell holds kGroup inputs of the kBlock outputs of one block. Four consecutive k of one output make a
// quad: 32 bits, what one lane of a byte dot product takes. int8 stores quad q of lane l at byte
// 64 * q + 4 * l. int4 stores quads 2p and 2p + 1 together at 64 * p + 4 * l, the even one in the low
// nibbles, the odd one in the high nibbles.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

template <int kBits>
constexpr int64_t kCellBytes = kBlock * kGroup * kBits / 8;

inline int32_t code_at(const uint8_t* cell, int bits, int64_t lane, int64_t k) {
  if (bits == 8) return cell[64 * (k / 4) + 4 * lane + k % 4];
  const uint8_t pair = cell[64 * (k / 8) + 4 * lane + k % 4];
  return k % 8 < 4 ? pair & 15 : pair >> 4;
}

// The kGroup codes of one lane, in the order of k, into its cell.
inline void put_codes(uint8_t* cell, int bits, int64_t lane, const uint8_t* codes) {
  if (bits == 8) {
    for (int quad = 0; quad < 8; ++quad)
      for (int j = 0; j < 4; ++j) cell[64 * quad + 4 * lane + j] = codes[4 * quad + j];
    return;
  }
  for (int pair = 0; pair < 4; ++pair)
    for (int j = 0; j < 4; ++j)
      cell[64 * pair + 4 * lane + j] = static_cast<uint8_t>(codes[8 * pair + j] | codes[8 * pair + 4 + j] << 4);
}

}  // namespace REDLINE_ISA
}  // namespace redline

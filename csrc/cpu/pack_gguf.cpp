// GGUF blocks to the packed layout of the integer matmuls, without a float copy in between. Each decoder
// turns one block of a file into groups of 32 codes in the order of k, with their scales and mins; the
// block formats are those that ggml defines.
#include "cpu/declare.h"
#include "cpu/int_layout.h"
#include "cpu/int_scales.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

// d and dmin are f16, as the file has them: the scale and min of 32 weights or, with factors, of a superblock.
struct Block {
  uint8_t codes[kSuperblock / kGroup][kGroup];
  uint16_t d, dmin;
  uint8_t factors[16], min_factors[16];
};

inline uint16_t half_bits(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

// K-quants subtract their mins, an IntMatrix adds them.
inline uint16_t negated(uint16_t half) { return half ^ 0x8000; }

// 16 bytes: the low nibbles are the first 16 codes, the high nibbles the others.
inline void split_nibbles(const uint8_t* from, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = from[i] & 15;
    codes[16 + i] = from[i] >> 4;
  }
}

// Bit i of the 32 is the fifth bit of code i.
inline void add_fifth_bits(const uint8_t* from, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, from, sizeof bits);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | (bits >> i & 1) << 4);
}

struct Q4_0 {
  static constexpr int kType = 2, kBits = 4, kBytes = 18, kGroups = 1;
  using Scales = PlainScales<f16, false>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p);
    split_nibbles(p + 2, out->codes[0]);
  }
};

struct Q4_1 {
  static constexpr int kType = 3, kBits = 4, kBytes = 20, kGroups = 1;
  using Scales = PlainScales<f16, true>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p);
    out->dmin = half_bits(p + 2);
    split_nibbles(p + 4, out->codes[0]);
  }
};

struct Q5_0 {
  static constexpr int kType = 6, kBits = 5, kBytes = 22, kGroups = 1;
  using Scales = PlainScales<f16, false>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p);
    split_nibbles(p + 6, out->codes[0]);
    add_fifth_bits(p + 2, out->codes[0]);
  }
};

struct Q5_1 {
  static constexpr int kType = 7, kBits = 5, kBytes = 24, kGroups = 1;
  using Scales = PlainScales<f16, true>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p);
    out->dmin = half_bits(p + 2);
    split_nibbles(p + 8, out->codes[0]);
    add_fifth_bits(p + 4, out->codes[0]);
  }
};

struct Q8_0 {
  static constexpr int kType = 8, kBits = 8, kBytes = 34, kGroups = 1;
  using Scales = PlainScales<f16, false>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p);
    for (int i = 0; i < 32; ++i) out->codes[0][i] = p[2 + i] ^ 0x80;  // signed code + 128
  }
};

// d, dmin, and the 6-bit factors of scales and mins in 12 bytes.
inline void decode_scales_K(const uint8_t* p, Block* out) {
  out->d = half_bits(p);
  out->dmin = negated(half_bits(p + 2));
  p += 4;
  for (int g = 0; g < 4; ++g) {
    out->factors[g] = p[g] & 63;
    out->min_factors[g] = p[4 + g] & 63;
    out->factors[4 + g] = static_cast<uint8_t>((p[8 + g] & 15) | (p[g] >> 6) << 4);
    out->min_factors[4 + g] = static_cast<uint8_t>(p[8 + g] >> 4 | (p[4 + g] >> 6) << 4);
  }
}

// 2-bit codes: each 32 bytes hold four groups.
inline void split_pairs_of_bits(const uint8_t* from, Block* out) {
  for (int g = 0; g < 8; ++g)
    for (int i = 0; i < 32; ++i) out->codes[g][i] = from[g / 4 * 32 + i] >> g % 4 * 2 & 3;
}

struct Q2_K {
  static constexpr int kType = 10, kBits = 2, kBytes = 84, kGroups = 8;
  using Scales = NestedScales<4, true, 16>;
  static void decode(const uint8_t* p, Block* out) {
    out->d = half_bits(p + 80);
    out->dmin = negated(half_bits(p + 82));
    for (int s = 0; s < 16; ++s) {
      out->factors[s] = p[s] & 15;
      out->min_factors[s] = p[s] >> 4;
    }
    split_pairs_of_bits(p + 16, out);
  }
};

struct Q3_K {
  static constexpr int kType = 11, kBits = 3, kBytes = 110, kGroups = 8;
  using Scales = NestedScales<8, false, 16>;
  static void decode(const uint8_t* p, Block* out) {
    const uint8_t* scales = p + 96;  // the low 4 bits of 16 factors in 8 bytes, the high 2 in 4; each + 32
    out->d = half_bits(p + 108);
    for (int s = 0; s < 16; ++s) {
      const int low = scales[s % 8] >> s / 8 * 4 & 15, high = scales[8 + s % 4] >> s / 4 * 2 & 3;
      out->factors[s] = static_cast<uint8_t>((low | high << 4) - 32);
    }
    split_pairs_of_bits(p + 32, out);
    for (int g = 0; g < 8; ++g)
      for (int i = 0; i < 32; ++i) out->codes[g][i] = static_cast<uint8_t>(out->codes[g][i] | (p[i] >> g & 1) << 2);
  }
};

// 4-bit codes: each 32 bytes hold two groups.
inline void split_nibbles_K(const uint8_t* from, Block* out) {
  for (int g = 0; g < 8; ++g)
    for (int i = 0; i < 32; ++i) out->codes[g][i] = from[g / 2 * 32 + i] >> g % 2 * 4 & 15;
}

struct Q4_K {
  static constexpr int kType = 12, kBits = 4, kBytes = 144, kGroups = 8;
  using Scales = NestedScales<8, true>;
  static void decode(const uint8_t* p, Block* out) {
    decode_scales_K(p, out);
    split_nibbles_K(p + 16, out);
  }
};

struct Q5_K {
  static constexpr int kType = 13, kBits = 5, kBytes = 176, kGroups = 8;
  using Scales = NestedScales<8, true>;
  static void decode(const uint8_t* p, Block* out) {
    decode_scales_K(p, out);
    split_nibbles_K(p + 48, out);
    for (int g = 0; g < 8; ++g)
      for (int i = 0; i < 32; ++i)
        out->codes[g][i] = static_cast<uint8_t>(out->codes[g][i] | (p[16 + i] >> g & 1) << 4);
  }
};

struct Q6_K {
  static constexpr int kType = 14, kBits = 6, kBytes = 210, kGroups = 8;
  using Scales = NestedScales<8, false, 16>;
  static void decode(const uint8_t* p, Block* out) {
    const uint8_t* high = p + 128;
    out->d = half_bits(p + 208);
    std::memcpy(out->factors, p + 192, 16);
    for (int g = 0; g < 8; ++g) {
      const int half = g / 4, part = g % 4;  // 128 codes of each half share 64 bytes of low bits
      for (int i = 0; i < 32; ++i) {
        const int low = p[half * 64 + part % 2 * 32 + i] >> part / 2 * 4 & 15;
        out->codes[g][i] = static_cast<uint8_t>(low | (high[half * 32 + i] >> part * 2 & 3) << 4);
      }
    }
  }
};

struct IQ4_NL {
  static constexpr int kType = 20, kBits = 4, kBytes = 18, kGroups = 1;
  using Scales = PlainScales<f16, false>;
  static void decode(const uint8_t* p, Block* out) { Q4_0::decode(p, out); }
};

struct IQ4_XS {
  static constexpr int kType = 23, kBits = 4, kBytes = 136, kGroups = 8;
  using Scales = NestedScales<8, false>;
  static void decode(const uint8_t* p, Block* out) {
    const unsigned high = half_bits(p + 2);  // the upper 2 bits of 8 factors; each + 32
    out->d = half_bits(p);
    for (int g = 0; g < 8; ++g) {
      const int low = p[4 + g / 2] >> g % 2 * 4 & 15;
      out->factors[g] = static_cast<uint8_t>((low | (high >> 2 * g & 3) << 4) - 32);
      split_nibbles(p + 8 + 16 * g, out->codes[g]);
    }
  }
};

inline void put_half(uint8_t* to, int64_t lane, uint16_t half) { std::memcpy(to + 2 * lane, &half, sizeof half); }

// The scale of scale group s of a block, which is number `own` of those of its superblock.
template <bool kMins, int kGroup>
inline void put_scale(PlainScales<f16, kMins, kGroup> scales, uint8_t* to, int64_t s, int64_t lane, uint16_t d,
                      const uint8_t*, int64_t) {
  put_half(to + scales.bytes(s), lane, d);
}
template <int kFactorBits, bool kMins, int kGroup>
inline void put_scale(NestedScales<kFactorBits, kMins, kGroup> scales, uint8_t* to, int64_t s, int64_t lane,
                      uint16_t d, const uint8_t* factors, int64_t own) {
  put_half(to + (scales.d_at(to, s) - to), lane, d);
  uint8_t* at = to + (scales.factors_at(to, s) - to) + lane;
  *at = kFactorBits == 8   ? factors[own]
        : own % 2 == 0     ? static_cast<uint8_t>(factors[own] | (*at & 0xf0))
                           : static_cast<uint8_t>((*at & 15) | factors[own] << 4);
}

template <typename Q>
void pack_row(const uint8_t* from, int64_t groups, int64_t row, const IntTarget& target) {
  using Scales = typename Q::Scales;
  constexpr int64_t kParts = kGroup / Scales::kGroup;
  const int64_t block = row / kBlock, lane = row % kBlock, scales_at = block * Scales::bytes(groups * kParts);
  Block decoded;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t own = g % Q::kGroups;
    if (own == 0) Q::decode(from + g / Q::kGroups * Q::kBytes, &decoded);
    write_codes<Q::kBits>(target.codes + (block * groups + g) * kCellBytes<Q::kBits>, lane, decoded.codes[own]);
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t s = g * kParts + part, own_part = own * kParts + part;
      put_scale(Scales(), target.scales + scales_at, s, lane, decoded.d, decoded.factors, own_part);
      if (Scales::kMins)
        put_scale(Scales(), target.mins + scales_at, s, lane, decoded.dmin, decoded.min_factors, own_part);
    }
  }
}

template <typename Q>
void pack(const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first, const IntTarget& target) {
  const int64_t groups = inputs / kGroup, row_bytes = groups / Q::kGroups * Q::kBytes;
  parallel_for(outputs, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) pack_row<Q>(blocks + row * row_bytes, groups, first + row, target);
  });
}

template <typename... Q>
bool pack_any(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
              const IntTarget& target) {
  return ((type == Q::kType ? (pack<Q>(blocks, outputs, inputs, first, target), true) : false) || ...);
}

}  // namespace

bool pack_gguf(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
               const IntTarget& target) {
  return pack_any<Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS>(
      type, blocks, outputs, inputs, first, target);
}

}  // namespace REDLINE_ISA
}  // namespace redline

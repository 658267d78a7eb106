// GGUF blocks to the packed layout of the integer matmuls, without a float copy in between. Each decoder
// turns one block of a file into groups of 32 codes in the order of k, with their scales and mins; the
// block formats are those that ggml defines.
#include "cpu/declare.h"
#include "cpu/int_layout.h"
#include "half.h"
#include "threads.h"

namespace redline {
namespace REDLINE_ISA {
namespace {

struct Group {
  uint8_t codes[kGroup];
  float scales[2];  // of 32 codes, or of 16 each
  float min;
};

inline float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return from_half(bits);
}

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
  static constexpr int kType = 2, kBits = 4, kBytes = 18, kGroups = 1, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    out->scales[0] = half_at(p);
    split_nibbles(p + 2, out->codes);
  }
};

struct Q4_1 {
  static constexpr int kType = 3, kBits = 4, kBytes = 20, kGroups = 1, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    out->scales[0] = half_at(p);
    out->min = half_at(p + 2);
    split_nibbles(p + 4, out->codes);
  }
};

struct Q5_0 {
  static constexpr int kType = 6, kBits = 8, kBytes = 22, kGroups = 1, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    out->scales[0] = half_at(p);
    split_nibbles(p + 6, out->codes);
    add_fifth_bits(p + 2, out->codes);
  }
};

struct Q5_1 {
  static constexpr int kType = 7, kBits = 8, kBytes = 24, kGroups = 1, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    out->scales[0] = half_at(p);
    out->min = half_at(p + 2);
    split_nibbles(p + 8, out->codes);
    add_fifth_bits(p + 4, out->codes);
  }
};

struct Q8_0 {
  static constexpr int kType = 8, kBits = 8, kBytes = 34, kGroups = 1, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    out->scales[0] = half_at(p);
    for (int i = 0; i < 32; ++i) out->codes[i] = p[2 + i] ^ 0x80;  // signed code + 128
  }
};

// The 6-bit scale and min of group g of a K-quant, out of 12 bytes.
inline void scale_and_min(const uint8_t* p, int g, int* scale, int* min) {
  if (g < 4) {
    *scale = p[g] & 63;
    *min = p[4 + g] & 63;
  } else {
    *scale = (p[4 + g] & 15) | (p[g - 4] >> 6) << 4;
    *min = p[4 + g] >> 4 | (p[g] >> 6) << 4;
  }
}

inline void decode_scales_K(const uint8_t* p, Group* out) {
  const float d = half_at(p), dmin = half_at(p + 2);
  for (int g = 0; g < 8; ++g) {
    int scale, min;
    scale_and_min(p + 4, g, &scale, &min);
    out[g].scales[0] = d * static_cast<float>(scale);
    out[g].min = -(dmin * static_cast<float>(min));
  }
}

struct Q4_K {
  static constexpr int kType = 12, kBits = 4, kBytes = 144, kGroups = 8, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    decode_scales_K(p, out);
    for (int g = 0; g < 8; ++g)
      for (int i = 0; i < 32; ++i) out[g].codes[i] = p[16 + g / 2 * 32 + i] >> g % 2 * 4 & 15;
  }
};

struct Q5_K {
  static constexpr int kType = 13, kBits = 8, kBytes = 176, kGroups = 8, kParts = 1;
  static void decode(const uint8_t* p, Group* out) {
    decode_scales_K(p, out);
    for (int g = 0; g < 8; ++g)
      for (int i = 0; i < 32; ++i) {
        const int low = p[48 + g / 2 * 32 + i] >> g % 2 * 4 & 15, high = p[16 + i] >> g & 1;
        out[g].codes[i] = static_cast<uint8_t>(low | high << 4);
      }
  }
};

struct Q6_K {
  static constexpr int kType = 14, kBits = 8, kBytes = 210, kGroups = 8, kParts = 2;
  static void decode(const uint8_t* p, Group* out) {
    const uint8_t *high = p + 128, *scales = p + 192;
    const float d = half_at(p + 208);
    for (int g = 0; g < 8; ++g) {
      const int half = g / 4, part = g % 4;  // 128 codes of each half share 64 bytes of low bits
      for (int i = 0; i < 32; ++i) {
        const int low = p[half * 64 + part % 2 * 32 + i] >> part / 2 * 4 & 15;
        out[g].codes[i] = static_cast<uint8_t>(low | (high[half * 32 + i] >> part * 2 & 3) << 4);
      }
      for (int s = 0; s < 2; ++s)
        out[g].scales[s] = d * static_cast<float>(static_cast<int8_t>(scales[2 * g + s]));
    }
  }
};

inline void put_scale(void* to, bool half, int64_t index, float value) {
  if (half)
    static_cast<uint16_t*>(to)[index] = to_half(value);
  else
    static_cast<float*>(to)[index] = value;
}

template <typename Q>
void pack(const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first, const IntTarget& target) {
  const int64_t groups = inputs / kGroup;
  parallel_for(outputs, kBlock, [&](int64_t begin, int64_t end) {
    Group decoded[Q::kGroups];
    for (int64_t row = begin; row < end; ++row) {
      const int64_t block = (first + row) / kBlock, lane = (first + row) % kBlock;
      const uint8_t* from = blocks + row * (groups / Q::kGroups) * Q::kBytes;
      for (int64_t g = 0; g < groups; ++g) {
        if (g % Q::kGroups == 0) Q::decode(from + g / Q::kGroups * Q::kBytes, decoded);
        const Group& group = decoded[g % Q::kGroups];
        const int64_t cell = block * groups + g;
        put_codes(target.codes + cell * kCellBytes<Q::kBits>, Q::kBits, lane, group.codes);
        for (int64_t part = 0; part < Q::kParts; ++part)
          put_scale(target.scales, target.half_scales, (cell * Q::kParts + part) * kBlock + lane,
                    group.scales[part]);
        if (target.mins) put_scale(target.mins, target.half_scales, cell * kBlock + lane, group.min);
      }
    }
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
  return pack_any<Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K>(type, blocks, outputs, inputs, first, target);
}

}  // namespace REDLINE_ISA
}  // namespace redline

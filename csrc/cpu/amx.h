// The tile registers of AMX: eight of 16 rows of 64 bytes, shaped by a configuration that each thread loads.
//
// A Tiles object holds them for as long as it lives; a task of a parallel_for makes one around its work, so that
// a thread that does something else has no tile state for the system to save.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace redline {
namespace REDLINE_ISA {
namespace {

// The memory operand of ldtilecfg. Constant and filled at compile time: compilers have dropped stores to a
// configuration built at run time, because the intrinsic does not tell them how much of it is read.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

constexpr int64_t kTileBytes = 1024;  // a full one

class Tiles {
 public:
  explicit Tiles(const TileConfig& config) { _tile_loadconfig(&config); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

}  // namespace
}  // namespace REDLINE_ISA
}  // namespace redline

// What the machine can do at most, measured with the instructions that the kernels are made of. Not a part of any
// model: redline/bench/ceiling.py puts these numbers beside the others.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "cpu/declare.h"
#include "threads.h"
#if REDLINE_ISA_avx2
#include <immintrin.h>
#endif
#if REDLINE_ISA_amx
#include "cpu/amx.h"
#endif

namespace redline {
namespace REDLINE_ISA {
namespace {

constexpr int64_t kPiece = int64_t{1} << 17;  // bytes that a thread takes at a time

#if REDLINE_ISA_avx512
using Vector = __m512i;
inline Vector load_vector(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline Vector either(Vector a, Vector b) { return _mm512_or_si512(a, b); }
inline Vector zero_vector() { return _mm512_setzero_si512(); }
#elif REDLINE_ISA_avx2
using Vector = __m256i;
inline Vector load_vector(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Vector either(Vector a, Vector b) { return _mm256_or_si256(a, b); }
inline Vector zero_vector() { return _mm256_setzero_si256(); }
#else
struct Vector {
  uint64_t v;
};
inline Vector load_vector(const uint8_t* p) { return {*reinterpret_cast<const uint64_t*>(p)}; }
inline Vector either(Vector a, Vector b) { return {a.v | b.v}; }
inline Vector zero_vector() { return {0}; }
#endif

// One cache line of each stream per round, fetched `ahead` bytes early where that is not 0.
template <int kStreams>
uint8_t read_piece(const uint8_t* data, int64_t bytes, int64_t ahead) {
  constexpr int kLine = 64, kPerLine = kLine / sizeof(Vector);
  const int64_t part = bytes / kStreams / kLine * kLine;
  Vector seen[kStreams];
  for (Vector& each : seen) each = zero_vector();
  for (int64_t at = 0; at < part; at += kLine)
    for (int s = 0; s < kStreams; ++s) {
      const uint8_t* line = data + s * part + at;
      if (ahead) __builtin_prefetch(line + ahead);
      for (int i = 0; i < kPerLine; ++i) seen[s] = either(seen[s], load_vector(line + i * sizeof(Vector)));
    }
  for (int s = 1; s < kStreams; ++s) seen[0] = either(seen[0], seen[s]);
  uint8_t bits = 0, lanes[sizeof(Vector)];
  std::memcpy(lanes, &seen[0], sizeof(Vector));
  for (uint8_t lane : lanes) bits |= lane;
  for (int64_t at = kStreams * part; at < bytes; ++at) bits |= data[at];
  return bits;
}

// The compiler must believe that the value changes, or it would compute a product once.
#if defined(__x86_64__)
#define REDLINE_CHANGES(x) asm volatile("" : "+x"(x))
#else
#define REDLINE_CHANGES(x) asm volatile("" : "+m"(x))
#endif

#if REDLINE_ISA_avx512
constexpr int64_t kFloatMacs = 16 * 16;
float float_rounds(int64_t rounds) {
  __m512 sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  __m512 a = _mm512_set1_ps(0.5f);
  const __m512 b = _mm512_set1_ps(0.25f);
  for (int64_t r = 0; r < rounds; ++r) {
    REDLINE_CHANGES(a);
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  for (int i = 1; i < 16; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return _mm512_reduce_add_ps(sums[0]);
}

constexpr int64_t kIntMacs = 16 * 64;
float int_rounds(int64_t rounds) {
  __m512i sums[16];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(5);
  for (int64_t r = 0; r < rounds; ++r) {
    REDLINE_CHANGES(a);
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
  }
  for (int i = 1; i < 16; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  return static_cast<float>(_mm512_reduce_add_epi32(sums[0]));
}
#elif REDLINE_ISA_avx2
constexpr int64_t kFloatMacs = 12 * 8;
float float_rounds(int64_t rounds) {
  __m256 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  __m256 a = _mm256_set1_ps(0.5f);
  const __m256 b = _mm256_set1_ps(0.25f);
  for (int64_t r = 0; r < rounds; ++r) {
    REDLINE_CHANGES(a);
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
  }
  for (int i = 1; i < 12; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  return _mm256_cvtss_f32(sums[0]);
}

// Eight 16-bit sums of products before they are widened, as much as codes of four bits leave room for.
constexpr int kSums = 5, kBeforeWidening = 8;
constexpr int64_t kIntMacs = kSums * kBeforeWidening * 32;
float int_rounds(int64_t rounds) {
  __m256i wide[kSums];
  for (__m256i& sum : wide) sum = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (int64_t r = 0; r < rounds; ++r) {
    __m256i narrow[kSums];
    for (__m256i& sum : narrow) sum = _mm256_setzero_si256();
    for (int i = 0; i < kBeforeWidening; ++i)
      for (__m256i& sum : narrow) {
        REDLINE_CHANGES(a);
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b));
      }
    for (int i = 0; i < kSums; ++i) wide[i] = _mm256_add_epi32(wide[i], _mm256_madd_epi16(narrow[i], ones));
  }
  for (int i = 1; i < kSums; ++i) wide[0] = _mm256_add_epi32(wide[0], wide[i]);
  return static_cast<float>(_mm256_extract_epi32(wide[0], 0));
}
#else
constexpr int64_t kFloatMacs = 8;
float float_rounds(int64_t rounds) {
  float sums[8] = {}, a = 0.5f;
  for (int64_t r = 0; r < rounds; ++r) {
    REDLINE_CHANGES(a);
    for (float& sum : sums) sum += a * 0.25f;
  }
  return sums[0] + sums[7];
}

constexpr int64_t kIntMacs = 8;
float int_rounds(int64_t rounds) {
  int32_t sums[8] = {};
  volatile int8_t source = 3;
  for (int64_t r = 0; r < rounds; ++r) {
    const int32_t a = source;
    for (int32_t& sum : sums) sum += a * 5;
  }
  return static_cast<float>(sums[0] + sums[7]);
}
#endif

#if REDLINE_ISA_amx
constexpr TileConfig kAllTiles = [] {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = 16;
    config.row_bytes[tile] = 64;
  }
  return config;
}();
// Four products whose sums do not wait for each other.
constexpr int64_t kTileIntMacs = 4 * 16 * 16 * 64, kTileBf16Macs = 4 * 16 * 16 * 32;

template <bool kBf16>
float tile_rounds(int64_t rounds) {
  alignas(64) static const TileConfig config = kAllTiles;
  const Tiles tiles(config);  // the operands are zero, which takes as long as anything else
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t r = 0; r < rounds; ++r) {
    if (kBf16) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    } else {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }
  return 0.0f;
}
#endif

// Every thread of the pool does the same work; it must take long beside waking them.
template <typename Rounds>
void on_all_threads(int64_t rounds, const Rounds& run) {
  static std::atomic<float> result;
  parallel_for(num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) result.store(run(rounds), std::memory_order_relaxed);
  });
}

}  // namespace

int64_t peak_read(const uint8_t* data, int64_t bytes, int streams, int64_t ahead) {
  std::atomic<unsigned> seen{0};
  const int64_t pieces = (bytes + kPiece - 1) / kPiece;
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const uint8_t* start = data + piece * kPiece;
      const int64_t size = std::min(kPiece, bytes - piece * kPiece);
      seen.fetch_or(streams == 1   ? read_piece<1>(start, size, ahead)
                    : streams == 2 ? read_piece<2>(start, size, ahead)
                                   : read_piece<4>(start, size, ahead),
                    std::memory_order_relaxed);
    }
  });
  return static_cast<int64_t>(seen.load());
}

int64_t peak_reread(const uint8_t* data, int64_t bytes, int64_t passes) {
  std::atomic<unsigned> seen{0};
  parallel_for(num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      for (int64_t pass = 0; pass < passes; ++pass) {
        asm volatile("" ::: "memory");  // or one pass would do
        seen.fetch_or(read_piece<4>(data + part * bytes, bytes, 0), std::memory_order_relaxed);
      }
  });
  return static_cast<int64_t>(seen.load());
}

int64_t peak_macs(int kind, int64_t macs) {
  int64_t per_round = 0;
  float (*run)(int64_t) = nullptr;
  if (kind == 0) per_round = kFloatMacs, run = float_rounds;
  if (kind == 1) per_round = kIntMacs, run = int_rounds;
#if REDLINE_ISA_amx
  if (kind == 2) per_round = kTileIntMacs, run = tile_rounds<false>;
  if (kind == 3) per_round = kTileBf16Macs, run = tile_rounds<true>;
#endif
  if (!run) return 0;
  const int64_t rounds = std::max<int64_t>(1, macs / num_threads() / per_round);
  on_all_threads(rounds, run);
  return rounds * per_round * num_threads();
}

}  // namespace REDLINE_ISA
}  // namespace redline

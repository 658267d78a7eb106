// The table of kernels: one per instruction set, the same fields in each. Raw pointers and sizes only;
// the wrappers in redline/ops/<op>/cpu.py check what is passed, nothing here does.
#pragma once
#include <cstdint>

namespace redline {

// Packed weights interleave kBlock outputs, so that a vector lane is an output: every output sums its
// products in the order of k, and neither the number of rows nor the instruction set changes that order.
constexpr int64_t kBlock = 16;
// Integer codes are stored, and activations quantised, in groups of kGroup inputs.
constexpr int64_t kGroup = 32;

enum class FloatType : int { f32, f16, bf16 };

// One matrix [outputs, inputs] of floats: data[block][k][lane], lanes beyond `outputs` are zero.
struct FloatMatrix {
  const void* data;
  FloatType type;
  int64_t outputs, inputs;
};

// How the scales of an IntMatrix, and its mins, are stored. A scale group is `group` inputs of one output.
enum class ScaleType : int {
  f32,      // [block][scale group][lane]
  f16,      // the same
  nested8,  // scale = d * factor, a float32 product. Per block and kSuperblock inputs: d[lane] in f16, then int8
            // factors [scale group][lane]
  nested4,  // the same with factors 0..15: scale groups 2i and 2i + 1 in the low and high nibbles of [i][lane]
};
constexpr int64_t kSuperblock = 256;

// One matrix [outputs, inputs] of codes c with weight = scale * (c - offset) + min.
// codes[block][group of 32]: cells of `bits` bits a code, see csrc/cpu/int_layout.h. With a codebook the stored
// 4 bits are an index, and c = codebook[index].
struct IntMatrix {
  const uint8_t* codes;
  const void* scales;
  const void* mins;         // null: none
  const uint8_t* codebook;  // 16 codes; null: none
  const float* units;       // per output, padded to blocks: see Kernels::int_units
  ScaleType scale_type;
  int32_t bits;
  int32_t offset;
  int32_t group;   // 32 or 16
  int32_t planes;  // activations are quantised to 8 (1) or 16 bits (2)
  int64_t outputs, inputs;
};

// How a gated MLP bends its gates: silu, gelu by tanh, gelu by erf.
enum class Gate : int { none = -1, silu, gelu_tanh, gelu_erf };

// The rows of a matmul, row r at x + r * stride, each normed by RMSNorm first unless norm_weight is null.
struct MatmulInput {
  const float* x;
  int64_t stride, rows;
  const float* norm_weight;
  float eps;
};

// Where the outputs go, row r at y + r * stride, and what is done to them on the way, in this order: + bias[o],
// + addend[r, o] (null: none); or, with a gate, gate(output o) * output o + outputs / 2, which halves the outputs.
struct MatmulOutput {
  float* y;
  int64_t stride;
  const float* bias;
  const float* addend;
  int64_t addend_stride;
  Gate gate;
};

// Where pack_gguf() writes: the arrays of an IntMatrix.
struct IntTarget {
  uint8_t *codes, *scales, *mins;
};

// A K/V cache is [num_blocks, num_kv_heads] of blocks of block_size tokens: keys as [head_dim, block_size], so
// that a vector holds one dimension of adjacent keys, values as [block_size, head_dim]. Where a format has scales,
// those of the block's tokens follow its codes (csrc/cpu/kv_format.h). Slot s is token s % block_size of block
// s / block_size. The order of the types is that of FORMATS in redline/ops/kv_store/layout.py.
enum class CacheType : int { f32, f16, bf16, int8, fp8, int4 };

// Rotary embedding: token t turns by row positions[t] of cos and sin, which have rows of `half`.
struct RopeArgs {
  const float *cos, *sin;
  const int32_t* positions;
  int64_t half;
  bool interleaved;
};

// y[r] = addend[r] + the sum over m of weights[r, m] * x[m][r]; y is dense.
constexpr int64_t kMaxMixed = 16;
struct MixArgs {
  const float* x[kMaxMixed];
  int64_t x_stride[kMaxMixed];
  const float *weights, *addend;
  int64_t num_mixed, weights_stride, addend_stride;
  float* y;
  int64_t rows, dim;
};

struct KvStoreArgs {
  const float *k, *v;
  int64_t k_stride, v_stride;
  void *k_cache, *v_cache;
  CacheType cache;
  const int32_t* slots;  // negative: skip
  int64_t num_tokens, num_heads, head_dim, block_size;
};

struct AttentionArgs {
  const float* q;
  int64_t q_stride;
  const void *k_cache, *v_cache;
  CacheType cache;
  const int32_t* block_tables;  // [num_sequences, max_blocks]
  const int32_t* query_start;   // [num_sequences + 1]
  const int32_t* context_lens;  // [num_sequences]
  float* out;
  int64_t num_sequences, max_blocks, num_heads, num_kv_heads, head_dim, block_size;
  float scale, soft_cap;  // soft_cap 0: off
  int64_t window;         // 0: off
};

struct SampleArgs {
  const float* logits;
  int64_t stride;
  const float* temperature;
  const int32_t* top_k;
  const float *top_p, *min_p;
  const double* uniform;
  int32_t* ids;
  int64_t rows, vocab;
};

struct TopLogprobsArgs {
  const float* logits;
  int64_t stride, k;
  const int32_t* chosen;
  int32_t* ids;
  float *logprobs, *chosen_logprob;
  int32_t* chosen_rank;
  int64_t rows, vocab;
};

struct Kernels {
  const char* name;
  // A matrix x is rows of dim (or tokens of heads * dim) floats, row r at x + r * x_stride; results are dense.
  void (*rmsnorm)(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t tokens,
                  int64_t heads, int64_t dim);
  void (*layernorm)(const float* x, int64_t x_stride, const float* weight, const float* bias, float eps, float* y,
                    int64_t rows, int64_t dim);
  void (*add)(const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* z, int64_t rows,
              int64_t dim);
  // Two matrices element by element, the first bent by the gate; a stride of 0 repeats one row.
  void (*gated_activation)(Gate kind, const float* gate, int64_t gate_stride, const float* up, int64_t up_stride,
                           float* y, int64_t rows, int64_t dim);
  void (*multiply)(const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* z, int64_t rows,
                   int64_t dim);
  void (*softcap)(const float* x, int64_t x_stride, float cap, float* y, int64_t rows, int64_t dim);
  void (*scale)(const float* x, int64_t x_stride, float factor, float* y, int64_t rows, int64_t dim);
  void (*mix)(const MixArgs&);
  // Each row of x with the root mean square of that row of `like`; the mean square of x counts as `least` at least.
  void (*match_magnitude)(const float* x, int64_t x_stride, const float* like, int64_t like_stride, float least,
                          float* y, int64_t rows, int64_t dim);
  // What of each value exceeds its row's mean by more than so many standard deviations, else 0.
  void (*gaussian_topk)(const float* x, int64_t x_stride, float deviations, float* y, int64_t rows, int64_t dim);
  // Ids below `limit`, others as 0.
  void (*known_ids)(const int32_t* ids, int32_t limit, int32_t* known, int64_t count);
  void (*rope)(const float* x, int64_t x_stride, const RopeArgs&, float* y, int64_t tokens, int64_t heads,
               int64_t dim);
  void (*kv_store)(const KvStoreArgs&);
  void (*attention)(const AttentionArgs&);
  // rope of the queries and of the keys, kv_store of the latter, then attention. What a sequence of one token
  // stores must not be read by another one of the call.
  void (*rope_attention)(const RopeArgs&, const KvStoreArgs&, const AttentionArgs&);
  void (*argmax)(const float* logits, int64_t stride, int32_t* ids, int64_t rows, int64_t vocab);
  void (*sample)(const SampleArgs&);
  void (*top_logprobs)(const TopLogprobsArgs&);
  void (*penalties)(float* logits, const int32_t* ids, const int32_t* counts, int64_t n, float repetition,
                    float presence, float frequency);
  // y[r, o] = sum over k of x[r, k] * w[o, k], with what comes before and after it.
  void (*matmul_float)(const MatmulInput& x, const FloatMatrix& w, const MatmulOutput& y);
  // What matmul_int reads besides codes and scales: one number per output, padded to blocks. Made once per matrix;
  // null: not needed.
  void (*int_units)(const IntMatrix& w, float* units);
  // Returns false, having written nothing, when no kernel has the matrix's combination of bits and scales.
  bool (*matmul_int)(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
  // y[i, :] = row ids[i] of w. Returns false, having written nothing, when an id is out of range.
  bool (*embedding_float)(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y);
  bool (*embedding_int)(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
  // Row-major [outputs, inputs] elements of `size` bytes (2 or 4) into panels, from row `first` on.
  void (*pack_float)(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                     uint8_t* panels);
  // Rows of GGUF blocks of the given ggml type into the arrays of a matrix, from row `first` on.
  // Returns false for a type it does not know.
  bool (*pack_gguf)(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
                    const IntTarget& target);
  // Reads `bytes` of data on all threads and returns the OR of all bytes. Each thread reads in 1, 2 or 4 streams,
  // which are prefetched `ahead` bytes early (0: not at all).
  int64_t (*peak_read)(const uint8_t* data, int64_t bytes, int streams, int64_t ahead);
  // Does about `macs` multiply-adds on all threads, without memory, and returns how many it did: 0 for a kind that
  // this instruction set lacks. kind 0: float, 1: 8-bit integers in vectors, 2: in tiles, 3: bf16 in tiles.
  int64_t (*peak_macs)(int kind, int64_t macs);
  // Each thread reads a part of `bytes` of its own, `passes` times; there are as many parts as threads.
  int64_t (*peak_reread)(const uint8_t* data, int64_t bytes, int64_t passes);
};

// The table in use: the widest instruction set of this machine, or what select() asked for.
const Kernels& kernels();
// The widest one of this machine, whatever is in use.
const Kernels& widest_kernels();
// Returns false when this machine or build lacks `name`.
bool select(const char* name);

}  // namespace redline

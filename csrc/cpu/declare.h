// What the files of this folder define, for table.cpp to gather. kernels.h says what the arguments are.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace redline {
namespace REDLINE_ISA {

void rmsnorm(const float* x, int64_t x_stride, const float* weight, float eps, float* y, int64_t tokens,
             int64_t heads, int64_t dim);
void layernorm(const float* x, int64_t x_stride, const float* weight, const float* bias, float eps, float* y,
               int64_t rows, int64_t dim);
void add(const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* z, int64_t rows, int64_t dim);
void gated_activation(Gate kind, const float* gate, int64_t gate_stride, const float* up, int64_t up_stride, float* y,
                      int64_t rows, int64_t dim);
void multiply(const float* x, int64_t x_stride, const float* y, int64_t y_stride, float* z, int64_t rows, int64_t dim);
void softcap(const float* x, int64_t x_stride, float cap, float* y, int64_t rows, int64_t dim);
void scale(const float* x, int64_t x_stride, float factor, float* y, int64_t rows, int64_t dim);
void mix(const MixArgs&);
void match_magnitude(const float* x, int64_t x_stride, const float* like, int64_t like_stride, float least, float* y,
                     int64_t rows, int64_t dim);
void gaussian_topk(const float* x, int64_t x_stride, float deviations, float* y, int64_t rows, int64_t dim);
void known_ids(const int32_t* ids, int32_t limit, int32_t* known, int64_t count);
void rope(const float* x, int64_t x_stride, const RopeArgs&, float* y, int64_t tokens, int64_t heads, int64_t dim);
void kv_store(const KvStoreArgs&);
void attention(const AttentionArgs&);
void rope_attention(const RopeArgs&, const KvStoreArgs&, const AttentionArgs&);
void argmax(const float* logits, int64_t stride, int32_t* ids, int64_t rows, int64_t vocab);
void sample(const SampleArgs&);
void top_logprobs(const TopLogprobsArgs&);
void penalties(float* logits, const int32_t* ids, const int32_t* counts, int64_t n, float repetition,
               float presence, float frequency);

void matmul_float(const MatmulInput& x, const FloatMatrix& w, const MatmulOutput& y);
void int_units(const IntMatrix& w, float* units);
bool matmul_int(const MatmulInput& x, const IntMatrix& w, const MatmulOutput& y);
bool embedding_float(const int32_t* ids, int64_t count, const FloatMatrix& w, float* y);
bool embedding_int(const int32_t* ids, int64_t count, const IntMatrix& w, float* y);
void pack_float(const uint8_t* rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
                uint8_t* panels);
bool pack_gguf(int type, const uint8_t* blocks, int64_t outputs, int64_t inputs, int64_t first,
               const IntTarget& target);
int64_t peak_read(const uint8_t* data, int64_t bytes, int streams, int64_t ahead);
int64_t peak_macs(int kind, int64_t macs);
int64_t peak_reread(const uint8_t* data, int64_t bytes, int64_t passes);

}  // namespace REDLINE_ISA
}  // namespace redline

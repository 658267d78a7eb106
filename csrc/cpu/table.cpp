#include "cpu/declare.h"
#include "kernels.h"

#define REDLINE_STRING_(x) #x
#define REDLINE_STRING(x) REDLINE_STRING_(x)

namespace redline {
namespace REDLINE_ISA {

const Kernels& table();
const Kernels& table() {
  static const Kernels kernels = [] {
    Kernels k{};
    k.name = REDLINE_STRING(REDLINE_ISA);
    k.rmsnorm = rmsnorm;
    k.matmul_float = matmul_float;
    k.matmul_int = matmul_int;
#if REDLINE_ISA_amx
    k.int_units = int_units;
#endif
    k.embedding_float = embedding_float;
    k.embedding_int = embedding_int;
    k.pack_float = pack_float;
    k.pack_gguf = pack_gguf;
    k.layernorm = layernorm;
    k.add = add;
    k.gated_activation = gated_activation;
    k.multiply = multiply;
    k.softcap = softcap;
    k.scale = scale;
    k.mix = mix;
    k.match_magnitude = match_magnitude;
    k.gaussian_topk = gaussian_topk;
    k.known_ids = known_ids;
    k.rope = rope;
    k.kv_store = kv_store;
    k.attention = attention;
    k.rope_attention = rope_attention;
    k.argmax = argmax;
    k.sample = sample;
    k.top_logprobs = top_logprobs;
    k.penalties = penalties;
    k.peak_read = peak_read;
    k.peak_macs = peak_macs;
    k.peak_reread = peak_reread;
    return k;
  }();
  return kernels;
}

}  // namespace REDLINE_ISA
}  // namespace redline

// The only file that knows Python: one thin function per kernel. nanobind checks dtype, rank and
// contiguity (noconvert: a wrong array is a TypeError, never a silent copy); the wrappers in
// redline/ops/<op>/cpu.py check that the shapes agree. The GIL is released around the work.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "graph.h"
#include "kernels.h"
#include "memory.h"
#include "threads.h"

namespace nb = nanobind;
using namespace redline;

namespace {

// c_contig: dense rows. Arrays without it are read through their strides (in elements).
template <typename T, int N>
using Dense = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <typename T, int N>
using Strided = nb::ndarray<T, nb::ndim<N>, nb::device::cpu>;

using Release = nb::call_guard<nb::gil_scoped_release>;

// Runs the work of a binding, and has the graph that this thread records run it again. `work` holds pointers and
// sizes, no Python objects; it returns a negative number, or what is wrong with its operands.
template <typename F>
int64_t perform(F work) {
  if (Graph* graph = Graph::recording()) graph->add(work);
  return work();
}
template <typename F>
void perform_always(F work) {
  perform([work] {
    work();
    return int64_t{-1};
  });
}

const auto fixed = [](const char* name) { return nb::arg(name).noconvert(); };

// Packed weights: the pointers that a kernel takes, and the arrays that keep them alive. Made once per
// weight, because checking five arrays at each of hundreds of calls per step would cost more than them.
struct PackedFloat {
  Dense<const uint8_t, 1> data;
  FloatMatrix matrix;
};

struct PackedInt {
  Dense<const uint8_t, 1> codes, scales;
  std::optional<Dense<const uint8_t, 1>> mins, codebook;
  IntMatrix matrix;
  std::unique_ptr<float[]> units;

  // Once the arrays have been filled.
  void find_units() {
    if (!widest_kernels().int_units) return;
    units.reset(new float[(matrix.outputs + kBlock - 1) / kBlock * kBlock]);
    widest_kernels().int_units(matrix, units.get());
    matrix.units = units.get();
  }
};

using Vector = std::optional<Dense<const float, 1>>;
using Matrix = std::optional<Strided<const float, 2>>;

// What a matmul does besides: see MatmulInput and MatmulOutput.
struct Fused {
  Vector norm_weight, bias;
  float eps;
  Matrix addend;
  int gate;
};

template <typename Array>
bool has_shape(const Array& array, std::initializer_list<int64_t> shape) {
  size_t axis = 0;
  for (int64_t size : shape)
    if (static_cast<int64_t>(array.shape(axis++)) != size) return false;
  return true;
}

template <typename Array>
bool has_dense_rows(const Array& matrix) {
  return matrix.shape(0) == 0 || matrix.shape(1) <= 1 || matrix.stride(1) == 1;
}

// Kernels take any address that is a multiple of the element's size.
template <typename Array>
bool is_aligned(const Array& array) {
  return reinterpret_cast<uintptr_t>(array.data()) % (array.dtype().bits / 8) == 0;
}
template <typename Array>
bool is_aligned(const std::optional<Array>& array) {
  return !array || is_aligned(*array);
}

template <typename Kernel, typename Packed>
void run_matmul(Kernel kernel, const Strided<const float, 2>& x, const Packed& packed, Strided<float, 2>& y,
                const Fused& fused) {
  const int64_t rows = static_cast<int64_t>(x.shape(0)), inputs = packed.matrix.inputs;
  const int64_t outputs = packed.matrix.outputs / (fused.gate < 0 ? 1 : 2);
  if (!has_shape(x, {rows, inputs}) || !has_dense_rows(x) || !has_shape(y, {rows, outputs}) || !has_dense_rows(y) ||
      (fused.gate >= 0 && (packed.matrix.outputs % 2 || fused.gate > 2 || fused.addend)) ||
      (fused.norm_weight && !has_shape(*fused.norm_weight, {inputs})) ||
      (fused.bias && !has_shape(*fused.bias, {packed.matrix.outputs})) ||
      (fused.addend && !(has_shape(*fused.addend, {rows, outputs}) && has_dense_rows(*fused.addend))) ||
      !is_aligned(x) || !is_aligned(y) || !is_aligned(fused.norm_weight) || !is_aligned(fused.bias) ||
      !is_aligned(fused.addend))
    throw nb::value_error("shapes of the operands do not agree, or rows are not dense, or memory is not aligned");
  const MatmulInput in = {x.data(), x.stride(0), rows, fused.norm_weight ? fused.norm_weight->data() : nullptr,
                          fused.eps};
  const MatmulOutput out = {y.data(), y.stride(0), fused.bias ? fused.bias->data() : nullptr,
                            fused.addend ? fused.addend->data() : nullptr,
                            fused.addend ? fused.addend->stride(0) : 0, static_cast<Gate>(fused.gate)};
  nb::gil_scoped_release release;
  perform_always([kernel, in, weight = packed.matrix, out] { kernel(in, weight, out); });
}

template <typename Kernel, typename Packed>
bool run_embedding(Kernel kernel, const Dense<const int32_t, 1>& ids, const Packed& packed, Dense<float, 2>& y) {
  if (y.shape(0) != ids.shape(0) || static_cast<int64_t>(y.shape(1)) != packed.matrix.inputs)
    throw nb::value_error("shapes of ids, weight and y do not agree");
  const int32_t* from = ids.data();
  const int64_t count = static_cast<int64_t>(ids.shape(0));
  float* to = y.data();
  nb::gil_scoped_release release;
  return perform([kernel, from, count, weight = packed.matrix, to] {
           return kernel(from, count, weight, to) ? int64_t{-1} : int64_t{0};
         }) < 0;
}

template <typename T>
struct Tag {
  using type = T;
};

void bind_weights(nb::module_& m) {
  nb::class_<PackedFloat>(m, "PackedFloat")
      .def(
          "__init__",
          [](PackedFloat* self, Dense<const uint8_t, 1> data, int type, int64_t outputs, int64_t inputs) {
            new (self) PackedFloat{data, {data.data(), static_cast<FloatType>(type), outputs, inputs}};
          },
          fixed("data"), nb::arg("type"), nb::arg("outputs"), nb::arg("inputs"));
  nb::class_<PackedInt>(m, "PackedInt")
      .def(
          "__init__",
          [](PackedInt* self, Dense<const uint8_t, 1> codes, Dense<const uint8_t, 1> scales,
             std::optional<Dense<const uint8_t, 1>> mins, std::optional<Dense<const uint8_t, 1>> codebook,
             int scale_type, int32_t bits, int32_t offset, int32_t group, int32_t planes, int64_t outputs,
             int64_t inputs) {
            new (self) PackedInt{codes, scales, mins, codebook,
                                 {codes.data(), scales.data(), mins ? mins->data() : nullptr,
                                  codebook ? codebook->data() : nullptr, nullptr,
                                  static_cast<ScaleType>(scale_type), bits, offset, group, planes, outputs, inputs},
                                 nullptr};
            self->find_units();
          },
          fixed("codes"), fixed("scales"), nb::arg("mins").noconvert().none(),
          nb::arg("codebook").noconvert().none(), nb::arg("scale_type"), nb::arg("bits"), nb::arg("offset"),
          nb::arg("group"), nb::arg("planes"), nb::arg("outputs"), nb::arg("inputs"));

  using X = Strided<const float, 2>;
  using Y = Dense<float, 2>;
  using Ids = Dense<const int32_t, 1>;
  const auto bind_matmul = [&m](const char* name, auto choose, auto packed) {
    using Packed = decltype(packed);
    m.def(
        name,
        [choose](X x, const typename Packed::type& w, Strided<float, 2> y, Vector norm_weight, float eps, Vector bias,
                 Matrix addend, int gate) { run_matmul(choose(), x, w, y, Fused{norm_weight, bias, eps, addend, gate}); },
        fixed("x"), nb::arg("weight"), fixed("y"), fixed("norm_weight").none(), nb::arg("eps"),
        fixed("bias").none(), fixed("addend").none(), nb::arg("gate"));
  };
  bind_matmul("matmul_float", [] { return kernels().matmul_float; }, Tag<PackedFloat>());
  bind_matmul(
      "matmul_int",
      [] {
        return [](const MatmulInput& in, const IntMatrix& w, const MatmulOutput& out) {
          if (!kernels().matmul_int(in, w, out)) throw nb::value_error("no kernel has this format");
        };
      },
      Tag<PackedInt>());
  m.def(
      "embedding_float",
      [](Ids ids, const PackedFloat& w, Y y) { return run_embedding(kernels().embedding_float, ids, w, y); },
      fixed("ids"), nb::arg("weight"), fixed("y"));
  m.def(
      "embedding_int",
      [](Ids ids, const PackedInt& w, Y y) { return run_embedding(kernels().embedding_int, ids, w, y); },
      fixed("ids"), nb::arg("weight"), fixed("y"));
  m.def(
      "pack_float",
      [](Dense<const uint8_t, 1> rows, int64_t size, int64_t outputs, int64_t inputs, int64_t first,
         Dense<uint8_t, 1> panels) {
        kernels().pack_float(rows.data(), size, outputs, inputs, first, panels.data());
      },
      fixed("rows"), nb::arg("size"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("first"), fixed("panels"),
      Release());
  m.def(
      "pack_gguf",
      [](int type, Dense<const uint8_t, 1> blocks, int64_t outputs, int64_t inputs, int64_t first,
         Dense<uint8_t, 1> codes, Dense<uint8_t, 1> scales, std::optional<Dense<uint8_t, 1>> mins) {
        const IntTarget target{codes.data(), scales.data(), mins ? mins->data() : nullptr};
        return kernels().pack_gguf(type, blocks.data(), outputs, inputs, first, target);
      },
      nb::arg("type"), fixed("blocks"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("first"), fixed("codes"),
      fixed("scales"), nb::arg("mins").noconvert().none(), Release());
}

// Elements between rows of x, which must themselves be dense.
template <typename Array>
int64_t row_stride(const Array& x) {
  if (x.size() == 0) return 0;
  if (!is_aligned(x)) throw nb::type_error("memory must be aligned to its elements; pass x.copy()");
  int64_t dense = 1;
  for (size_t axis = x.ndim() - 1; axis > 0; --axis) {
    if (x.shape(axis) != 1 && x.stride(axis) != dense)
      throw nb::type_error("only the first axis may be strided; pass numpy.ascontiguousarray(x)");
    dense *= x.shape(axis);
  }
  return x.stride(0);
}

// The first index whose value is outside [low, high), or -1.
int64_t first_outside(const int32_t* values, int64_t n, int64_t low, int64_t high) {
  bool bad = false;
  for (int64_t i = 0; i < n; ++i) bad |= values[i] < low || values[i] >= high;
  if (!bad) return -1;
  int64_t i = 0;
  while (values[i] >= low && values[i] < high) ++i;
  return i;
}

// A K/V cache as bytes [B, H, ...], because arrays of bfloat16 or of fp8 cannot be passed otherwise; its format and
// block size come with it. The wrappers check that they fit each other.
using Cache = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;
struct CacheLayout {
  int type;
  int64_t block_size;
};

void bind_norms(nb::module_& m) {
  m.def(
      "rmsnorm",
      [](nb::ndarray<const float, nb::device::cpu> x, Dense<const float, 1> weight, float eps,
         nb::ndarray<float, nb::c_contig, nb::device::cpu> y) {
        perform_always([from = x.data(), stride = row_stride(x), scale = weight.data(), eps, to = y.data(),
                        tokens = x.shape(0), heads = x.ndim() == 3 ? x.shape(1) : 1, dim = x.shape(x.ndim() - 1)] {
          kernels().rmsnorm(from, stride, scale, eps, to, tokens, heads, dim);
        });
      },
      fixed("x"), fixed("weight"), nb::arg("eps"), fixed("y"), Release());
  m.def(
      "layernorm",
      [](Strided<const float, 2> x, Dense<const float, 1> weight, Dense<const float, 1> bias, float eps,
         Dense<float, 2> y) {
        kernels().layernorm(x.data(), row_stride(x), weight.data(), bias.data(), eps, y.data(), x.shape(0),
                            x.shape(1));
      },
      fixed("x"), fixed("weight"), fixed("bias").none(), nb::arg("eps"), fixed("y"), Release());
}

void bind_rowwise(nb::module_& m) {
  m.def(
      "mix",
      [](std::vector<Strided<const float, 2>> x, Strided<const float, 2> weights, Strided<const float, 2> addend,
         Dense<float, 2> y) {
        if (x.size() > kMaxMixed) throw nb::value_error("too many matrices");
        MixArgs a{};
        for (const auto& each : x) {
          a.x[a.num_mixed] = each.data();
          a.x_stride[a.num_mixed++] = row_stride(each);
        }
        a.weights = weights.data(), a.weights_stride = row_stride(weights);
        a.addend = addend.data(), a.addend_stride = row_stride(addend);
        a.y = y.data(), a.rows = y.shape(0), a.dim = y.shape(1);
        perform_always([a] { kernels().mix(a); });
      },
      fixed("x"), fixed("weights"), fixed("addend"), fixed("y"), Release());
  m.def(
      "match_magnitude",
      [](Strided<const float, 2> x, Strided<const float, 2> like, float least, Dense<float, 2> y) {
        perform_always([from = x.data(), stride = row_stride(x), like = like.data(), like_stride = row_stride(like),
                        least, to = y.data(), rows = x.shape(0), dim = x.shape(1)] {
          kernels().match_magnitude(from, stride, like, like_stride, least, to, rows, dim);
        });
      },
      fixed("x"), fixed("like"), nb::arg("least"), fixed("y"), Release());
  m.def(
      "gaussian_topk",
      [](Strided<const float, 2> x, float deviations, Dense<float, 2> y) {
        perform_always([from = x.data(), stride = row_stride(x), deviations, to = y.data(), rows = x.shape(0),
                        dim = x.shape(1)] { kernels().gaussian_topk(from, stride, deviations, to, rows, dim); });
      },
      fixed("x"), nb::arg("deviations"), fixed("y"), Release());
}

void bind_elementwise(nb::module_& m) {
  m.def(
      "add",
      [](Strided<const float, 2> x, Strided<const float, 2> y, Dense<float, 2> z) {
        perform_always([a = x.data(), a_stride = row_stride(x), b = y.data(), b_stride = row_stride(y), to = z.data(),
                        rows = x.shape(0), dim = x.shape(1)] {
          kernels().add(a, a_stride, b, b_stride, to, rows, dim);
        });
      },
      fixed("x"), fixed("y"), fixed("z"), Release());
  m.def(
      "gated_activation",
      [](int kind, Strided<const float, 2> gate, Strided<const float, 2> up, Dense<float, 2> y) {
        perform_always([kind = static_cast<Gate>(kind), a = gate.data(), a_stride = row_stride(gate), b = up.data(),
                        b_stride = row_stride(up), to = y.data(), rows = y.shape(0), dim = y.shape(1)] {
          kernels().gated_activation(kind, a, a_stride, b, b_stride, to, rows, dim);
        });
      },
      nb::arg("kind"), fixed("gate"), fixed("up"), fixed("y"), Release());
  m.def(
      "multiply",
      [](Strided<const float, 2> x, Strided<const float, 2> y, Dense<float, 2> z) {
        perform_always([a = x.data(), a_stride = row_stride(x), b = y.data(), b_stride = row_stride(y), to = z.data(),
                        rows = x.shape(0), dim = x.shape(1)] {
          kernels().multiply(a, a_stride, b, b_stride, to, rows, dim);
        });
      },
      fixed("x"), fixed("y"), fixed("z"), Release());
  m.def(
      "softcap",
      [](Strided<const float, 2> x, float cap, Dense<float, 2> y) {
        perform_always([from = x.data(), stride = row_stride(x), cap, to = y.data(), rows = x.shape(0),
                        dim = x.shape(1)] { kernels().softcap(from, stride, cap, to, rows, dim); });
      },
      fixed("x"), nb::arg("cap"), fixed("y"), Release());
  m.def(
      "scale",
      [](Strided<const float, 2> x, float factor, Dense<float, 2> y) {
        perform_always([from = x.data(), stride = row_stride(x), factor, to = y.data(), rows = x.shape(0),
                        dim = x.shape(1)] { kernels().scale(from, stride, factor, to, rows, dim); });
      },
      fixed("x"), nb::arg("factor"), fixed("y"), Release());
  m.def(
      "known_ids",
      [](Dense<const int32_t, 1> ids, int32_t limit, Dense<int32_t, 1> known) {
        perform_always([from = ids.data(), limit, to = known.data(), count = static_cast<int64_t>(ids.shape(0))] {
          kernels().known_ids(from, limit, to, count);
        });
      },
      fixed("ids"), nb::arg("limit"), fixed("known"));
  // Returns the index of a position outside the tables, or -1.
  m.def(
      "rope",
      [](Strided<const float, 3> x, Dense<const float, 2> cos, Dense<const float, 2> sin,
         Dense<const int32_t, 1> positions, bool interleaved, Dense<float, 3> y) {
        const RopeArgs a = {cos.data(), sin.data(), positions.data(), static_cast<int64_t>(cos.shape(1)), interleaved};
        return perform([a, from = x.data(), stride = row_stride(x), to = y.data(), tokens = x.shape(0),
                        heads = x.shape(1), dim = x.shape(2), rows = cos.shape(0)] {
          const int64_t bad = first_outside(a.positions, tokens, 0, rows);
          if (bad < 0) kernels().rope(from, stride, a, to, tokens, heads, dim);
          return bad;
        });
      },
      fixed("x"), fixed("cos"), fixed("sin"), fixed("positions"), nb::arg("interleaved"), fixed("y"), Release());
}

// The index of a sequence whose lengths or blocks are out of bounds, or -1.
int64_t first_bad_sequence(const AttentionArgs& a, int64_t num_queries, int64_t num_blocks) {
  for (int64_t s = 0; s < a.num_sequences; ++s) {
    const int64_t count = int64_t{a.query_start[s + 1]} - a.query_start[s], context = a.context_lens[s];
    if (a.query_start[s] < 0 || count < 0 || a.query_start[s + 1] > num_queries) return s;
    if (count == 0) continue;
    const int64_t used = (context + a.block_size - 1) / a.block_size;
    if (context < count || used > a.max_blocks) return s;
    if (first_outside(a.block_tables + s * a.max_blocks, used, 0, num_blocks) >= 0) return s;
  }
  return -1;
}

using Ids = Dense<const int32_t, 1>;
using Tokens = Strided<const float, 3>;

KvStoreArgs store_args(const Tokens& k, const Tokens& v, const Cache& k_cache, const Cache& v_cache,
                       CacheLayout layout, const Ids& slots) {
  return {k.data(), v.data(), row_stride(k), row_stride(v), k_cache.data(), v_cache.data(),
          static_cast<CacheType>(layout.type), slots.data(), static_cast<int64_t>(k.shape(0)),
          static_cast<int64_t>(k.shape(1)), static_cast<int64_t>(k.shape(2)), layout.block_size};
}

AttentionArgs attention_args(const Tokens& q, const Cache& k_cache, const Cache& v_cache, CacheLayout layout,
                             const Dense<const int32_t, 2>& block_tables, const Ids& query_start,
                             const Ids& context_lens, float scale, int64_t window, float soft_cap,
                             const Dense<float, 3>& out) {
  AttentionArgs a{};
  a.q = q.data();
  a.q_stride = row_stride(q);
  a.k_cache = k_cache.data();
  a.v_cache = v_cache.data();
  a.cache = static_cast<CacheType>(layout.type);
  a.block_tables = block_tables.data();
  a.query_start = query_start.data();
  a.context_lens = context_lens.data();
  a.out = out.data();
  a.num_sequences = context_lens.shape(0);
  a.max_blocks = block_tables.shape(1);
  a.num_heads = q.shape(1);
  a.num_kv_heads = k_cache.shape(1);
  a.head_dim = q.shape(2);
  a.block_size = layout.block_size;
  a.scale = scale;
  a.soft_cap = soft_cap;
  a.window = window;
  return a;
}

void bind_attention(nb::module_& m) {
  // Returns the index of a slot outside the cache, or -1.
  m.def(
      "kv_store",
      [](Tokens k, Tokens v, Cache k_cache, Cache v_cache, int format, int64_t block_size, Ids slots) {
        const KvStoreArgs a = store_args(k, v, k_cache, v_cache, {format, block_size}, slots);
        return perform([a, num_slots = v_cache.shape(0) * a.block_size] {
          const int64_t bad = first_outside(a.slots, a.num_tokens, INT32_MIN, num_slots);
          if (bad < 0) kernels().kv_store(a);
          return bad;
        });
      },
      fixed("k"), fixed("v"), fixed("k_cache"), fixed("v_cache"), nb::arg("format"), nb::arg("block_size"),
      fixed("slots"), Release());
  // Returns the index of a sequence that does not fit its block table or the cache, or -1.
  m.def(
      "attention",
      [](Tokens q, Cache k_cache, Cache v_cache, int format, int64_t block_size,
         Dense<const int32_t, 2> block_tables, Ids query_start, Ids context_lens, float scale, int64_t window,
         float soft_cap, Dense<float, 3> out) {
        const AttentionArgs a = attention_args(q, k_cache, v_cache, {format, block_size}, block_tables, query_start,
                                               context_lens, scale, window, soft_cap, out);
        return perform([a, num_queries = q.shape(0), num_blocks = k_cache.shape(0)] {
          const int64_t bad = first_bad_sequence(a, num_queries, num_blocks);
          if (bad < 0) kernels().attention(a);
          return bad;
        });
      },
      fixed("q"), fixed("k_cache"), fixed("v_cache"), nb::arg("format"), nb::arg("block_size"),
      fixed("block_tables"), fixed("query_start"), fixed("context_lens"), nb::arg("scale"), nb::arg("window"), nb::arg("soft_cap"), fixed("out"), Release());
  // Returns 3 * index + 0, 1 or 2 of a position, a slot or a sequence that is out of bounds, or -1.
  m.def(
      "rope_attention",
      [](Tokens q, Tokens k, Tokens v, Dense<const float, 2> cos, Dense<const float, 2> sin, Ids positions,
         bool interleaved, Ids slots, Cache k_cache, Cache v_cache, int format, int64_t block_size,
         Dense<const int32_t, 2> block_tables, Ids query_start, Ids context_lens, float scale, int64_t window,
         float soft_cap, Dense<float, 3> out) {
        const RopeArgs rope = {cos.data(), sin.data(), positions.data(), static_cast<int64_t>(cos.shape(1)),
                               interleaved};
        const CacheLayout layout = {format, block_size};
        const KvStoreArgs store = store_args(k, v, k_cache, v_cache, layout, slots);
        const AttentionArgs a = attention_args(q, k_cache, v_cache, layout, block_tables, query_start, context_lens,
                                               scale, window, soft_cap, out);
        return perform([rope, store, a, num_positions = cos.shape(0), num_blocks = k_cache.shape(0)] {
          int64_t bad = first_outside(rope.positions, store.num_tokens, 0, num_positions);
          if (bad >= 0) return 3 * bad;
          bad = first_outside(store.slots, store.num_tokens, INT32_MIN, num_blocks * store.block_size);
          if (bad >= 0) return 3 * bad + 1;
          bad = first_bad_sequence(a, store.num_tokens, num_blocks);
          if (bad >= 0) return 3 * bad + 2;
          kernels().rope_attention(rope, store, a);
          return int64_t{-1};
        });
      },
      fixed("q"), fixed("k"), fixed("v"), fixed("cos"), fixed("sin"), fixed("positions"), nb::arg("interleaved"),
      fixed("slots"), fixed("k_cache"), fixed("v_cache"), nb::arg("format"), nb::arg("block_size"),
      fixed("block_tables"), fixed("query_start"), fixed("context_lens"), nb::arg("scale"), nb::arg("window"), nb::arg("soft_cap"), fixed("out"), Release());
}

void bind_sampling(nb::module_& m) {
  m.def(
      "argmax",
      [](Strided<const float, 2> logits, Dense<int32_t, 1> ids) {
        kernels().argmax(logits.data(), row_stride(logits), ids.data(), logits.shape(0), logits.shape(1));
      },
      fixed("logits"), fixed("ids"), Release());
  m.def(
      "sample",
      [](Strided<const float, 2> logits, Dense<const float, 1> temperature, Dense<const int32_t, 1> top_k,
         Dense<const float, 1> top_p, Dense<const float, 1> min_p, Dense<const double, 1> uniform,
         Dense<int32_t, 1> ids) {
        kernels().sample({logits.data(), row_stride(logits), temperature.data(), top_k.data(), top_p.data(),
                          min_p.data(), uniform.data(), ids.data(), static_cast<int64_t>(logits.shape(0)),
                          static_cast<int64_t>(logits.shape(1))});
      },
      fixed("logits"), fixed("temperature"), fixed("top_k"), fixed("top_p"), fixed("min_p"), fixed("uniform"),
      fixed("ids"), Release());
  // Returns the row whose chosen id is outside the vocabulary, or -1.
  m.def(
      "top_logprobs",
      [](Strided<const float, 2> logits, int64_t k, Dense<const int32_t, 1> chosen, Dense<int32_t, 2> ids,
         Dense<float, 2> logprobs, Dense<float, 1> chosen_logprob, Dense<int32_t, 1> chosen_rank) {
        const int64_t bad = first_outside(chosen.data(), chosen.shape(0), 0, logits.shape(1));
        if (bad < 0)
          kernels().top_logprobs({logits.data(), row_stride(logits), k, chosen.data(), ids.data(), logprobs.data(),
                                  chosen_logprob.data(), chosen_rank.data(),
                                  static_cast<int64_t>(logits.shape(0)), static_cast<int64_t>(logits.shape(1))});
        return bad;
      },
      fixed("logits"), nb::arg("k"), fixed("chosen"), fixed("ids"), fixed("logprobs"), fixed("chosen_logprob"),
      fixed("chosen_rank"), Release());
  // Returns the index of an id outside the vocabulary, or -1.
  m.def(
      "penalties",
      [](Dense<float, 1> logits, Dense<const int32_t, 1> ids, Dense<const int32_t, 1> counts, float repetition,
         float presence, float frequency) {
        const int64_t bad = first_outside(ids.data(), ids.shape(0), 0, logits.shape(0));
        if (bad < 0)
          kernels().penalties(logits.data(), ids.data(), counts.data(), ids.shape(0), repetition, presence,
                              frequency);
        return bad;
      },
      fixed("logits"), fixed("ids"), fixed("counts"), nb::arg("repetition"), nb::arg("presence"),
      nb::arg("frequency"), Release());
}

// An array whose memory goes back to the arena when the last view of it is gone.
nb::ndarray<nb::numpy, float> empty_in(const std::shared_ptr<Arena>& arena, const std::vector<size_t>& shape) {
  size_t bytes = sizeof(float);
  for (size_t size : shape) bytes *= size;
  struct Owned {
    std::shared_ptr<Arena> arena;
    void* memory;
  };
  auto* owned = new Owned{arena, arena->take(bytes)};
  nb::capsule owner(owned, [](void* p) noexcept {
    auto* gone = static_cast<Owned*>(p);
    gone->arena->give_back(gone->memory);
    delete gone;
  });
  return nb::ndarray<nb::numpy, float>(owned->memory, shape.size(), shape.data(), owner);
}

void bind_graph(nb::module_& m) {
  nb::class_<Arena>(m, "Arena").def(nb::init<>()).def_prop_ro("nbytes", &Arena::size);
  nb::class_<Graph>(m, "Graph")
      .def(nb::init<std::shared_ptr<Arena>>(), nb::arg("arena"))
      .def("__len__", &Graph::size)
      .def("begin", [](Graph& graph) { Graph::recording() = &graph; })
      .def("end", [](Graph&) { Graph::recording() = nullptr; })
      .def("empty", [](const Graph& graph, const std::vector<size_t>& shape) { return empty_in(graph.arena(), shape); })
      // The array `like` again, without a claim on its memory: where a replay leaves a result.
      .def("result", [](const Graph& graph, Dense<float, 2> like) {
        auto* kept = new std::shared_ptr<Arena>(graph.arena());
        nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::shared_ptr<Arena>*>(p); });
        return nb::ndarray<nb::numpy, float, nb::ndim<2>>(like.data(), {like.shape(0), like.shape(1)}, owner);
      })
      // Returns the index of a call that failed, or -1.
      .def("replay", &Graph::replay, Release());
}

void bind_peak(nb::module_& m) {
  m.def(
      "peak_read",
      [](Dense<const uint8_t, 1> data, int streams, int64_t ahead) {
        return kernels().peak_read(data.data(), data.shape(0), streams, ahead);
      },
      fixed("data"), nb::arg("streams"), nb::arg("ahead"), Release());
  // Returns -1 when the data has no part for each thread.
  m.def(
      "peak_reread",
      [](Dense<const uint8_t, 1> data, int64_t bytes, int64_t passes) -> int64_t {
        if (bytes < 1 || bytes * num_threads() > static_cast<int64_t>(data.shape(0))) return -1;
        return kernels().peak_reread(data.data(), bytes, passes);
      },
      fixed("data"), nb::arg("bytes"), nb::arg("passes"), Release());
  m.def(
      "peak_macs", [](int kind, int64_t macs) { return kernels().peak_macs(kind, macs); }, nb::arg("kind"),
      nb::arg("macs"), Release());
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.def("set_num_threads", &set_num_threads);
  m.def("num_threads", &num_threads);
  m.def("keep_freed_memory", &keep_freed_memory);
  m.def("return_freed_memory", &return_freed_memory, Release());
  m.def("isa", [] { return kernels().name; });
  m.def("select_isa", [](const char* name) { return select(name); });
  bind_weights(m);
  bind_norms(m);
  bind_rowwise(m);
  bind_elementwise(m);
  bind_attention(m);
  bind_sampling(m);
  bind_graph(m);
  bind_peak(m);
}

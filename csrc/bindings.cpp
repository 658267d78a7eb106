// The only file that knows Python: one thin function per kernel. nanobind checks dtype, rank and
// contiguity (noconvert: a wrong array is a TypeError, never a silent copy); the wrappers in
// redline/ops/<op>/cpu.py check that the shapes agree. The GIL is released around the work.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include "kernels.h"
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
const auto fixed = [](const char* name) { return nb::arg(name).noconvert(); };

// Packed weights: the pointers that a kernel takes, and the arrays that keep them alive. Made once per
// weight, because checking five arrays at each of hundreds of calls per step would cost more than them.
struct PackedFloat {
  Dense<const uint8_t, 1> data;
  FloatMatrix matrix;
};

struct PackedInt {
  Dense<const uint8_t, 1> codes, scales;
  std::optional<Dense<const uint8_t, 1>> mins;
  IntMatrix matrix;
};

template <typename Kernel, typename Packed>
void run_matmul(Kernel kernel, const Strided<const float, 2>& x, const Packed& packed, Dense<float, 2>& y) {
  const int64_t rows = static_cast<int64_t>(x.shape(0));
  if (static_cast<int64_t>(x.shape(1)) != packed.matrix.inputs || (rows > 0 && x.shape(1) > 1 && x.stride(1) != 1) ||
      static_cast<int64_t>(y.shape(0)) != rows || static_cast<int64_t>(y.shape(1)) != packed.matrix.outputs)
    throw nb::value_error("shapes of x, weight and y do not agree, or the rows of x are not dense");
  const int64_t stride = x.stride(0);
  const float* from = x.data();
  float* to = y.data();
  nb::gil_scoped_release release;
  kernel(from, stride, rows, packed.matrix, to);
}

template <typename Kernel, typename Packed>
bool run_embedding(Kernel kernel, const Dense<const int32_t, 1>& ids, const Packed& packed, Dense<float, 2>& y) {
  if (y.shape(0) != ids.shape(0) || static_cast<int64_t>(y.shape(1)) != packed.matrix.inputs)
    throw nb::value_error("shapes of ids, weight and y do not agree");
  nb::gil_scoped_release release;
  return kernel(ids.data(), static_cast<int64_t>(ids.shape(0)), packed.matrix, y.data());
}

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
             std::optional<Dense<const uint8_t, 1>> mins, bool half_scales, int32_t offset, int32_t group,
             int64_t outputs, int64_t inputs) {
            new (self) PackedInt{codes, scales, mins,
                                 {codes.data(), scales.data(), mins ? mins->data() : nullptr, half_scales, offset,
                                  group, outputs, inputs}};
          },
          fixed("codes"), fixed("scales"), nb::arg("mins").noconvert().none(), nb::arg("half_scales"),
          nb::arg("offset"), nb::arg("group"), nb::arg("outputs"), nb::arg("inputs"));

  using X = Strided<const float, 2>;
  using Y = Dense<float, 2>;
  using Ids = Dense<const int32_t, 1>;
  m.def(
      "matmul_float", [](X x, const PackedFloat& w, Y y) { run_matmul(kernels().matmul_float, x, w, y); },
      fixed("x"), nb::arg("weight"), fixed("y"));
  m.def(
      "matmul_int8", [](X x, const PackedInt& w, Y y) { run_matmul(kernels().matmul_int8, x, w, y); }, fixed("x"),
      nb::arg("weight"), fixed("y"));
  m.def(
      "matmul_int4", [](X x, const PackedInt& w, Y y) { run_matmul(kernels().matmul_int4, x, w, y); }, fixed("x"),
      nb::arg("weight"), fixed("y"));
  m.def(
      "embedding_float",
      [](Ids ids, const PackedFloat& w, Y y) { return run_embedding(kernels().embedding_float, ids, w, y); },
      fixed("ids"), nb::arg("weight"), fixed("y"));
  m.def(
      "embedding_int8",
      [](Ids ids, const PackedInt& w, Y y) { return run_embedding(kernels().embedding_int8, ids, w, y); },
      fixed("ids"), nb::arg("weight"), fixed("y"));
  m.def(
      "embedding_int4",
      [](Ids ids, const PackedInt& w, Y y) { return run_embedding(kernels().embedding_int4, ids, w, y); },
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
         Dense<uint8_t, 1> codes, Dense<uint8_t, 1> scales, std::optional<Dense<uint8_t, 1>> mins,
         bool half_scales) {
        const IntTarget target{codes.data(), scales.data(), mins ? mins->data() : nullptr, half_scales};
        return kernels().pack_gguf(type, blocks.data(), outputs, inputs, first, target);
      },
      nb::arg("type"), fixed("blocks"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("first"), fixed("codes"),
      fixed("scales"), nb::arg("mins").noconvert().none(), nb::arg("half_scales"), Release());
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.def("set_num_threads", &set_num_threads);
  m.def("num_threads", &num_threads);
  m.def("isa", [] { return kernels().name; });
  m.def("select_isa", [](const char* name) { return select(name); });
  bind_weights(m);

  m.def(
      "rmsnorm",
      [](Strided<const float, 2> x, Dense<const float, 1> weight, float eps, Dense<float, 2> y) {
        kernels().rmsnorm(x.data(), x.stride(0), weight.data(), eps, y.data(), x.shape(0), x.shape(1));
      },
      fixed("x"), fixed("weight"), nb::arg("eps"), fixed("y"), Release());
}

// The only file that knows Python: one thin function per kernel. nanobind checks dtype, rank and
// contiguity (noconvert: a wrong array is a TypeError, never a silent copy); the wrappers in
// redline/ops/<op>/cpu.py check that the shapes agree. The GIL is released around the work.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

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

}  // namespace

NB_MODULE(_kernels, m) {
  m.def("set_num_threads", &set_num_threads);
  m.def("num_threads", &num_threads);
  m.def("isa", [] { return kernels().name; });
  m.def("select_isa", [](const char* name) { return select(name); });

  m.def(
      "rmsnorm",
      [](Strided<const float, 2> x, Dense<const float, 1> weight, float eps, Dense<float, 2> y) {
        kernels().rmsnorm(x.data(), x.stride(0), weight.data(), eps, y.data(), x.shape(0), x.shape(1));
      },
      fixed("x"), fixed("weight"), nb::arg("eps"), fixed("y"), Release());
}

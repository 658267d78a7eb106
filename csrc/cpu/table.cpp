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
    return k;
  }();
  return kernels;
}

}  // namespace REDLINE_ISA
}  // namespace redline

#include <cstring>

#include "kernels.h"

namespace redline {

namespace scalar { const Kernels& table(); }
#if REDLINE_HAVE_X86
namespace avx2 { const Kernels& table(); }
#endif

namespace {

const Kernels* widest() {
#if REDLINE_HAVE_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
    return &avx2::table();
#endif
  return &scalar::table();
}

const Kernels*& current() {
  static const Kernels* table = widest();
  return table;
}

}  // namespace

const Kernels& kernels() { return *current(); }

bool select(const char* name) {
  if (std::strcmp(name, "auto") == 0 || std::strcmp(name, widest()->name) == 0) {
    current() = widest();
    return true;
  }
  if (std::strcmp(name, "scalar") == 0) {
    current() = &scalar::table();
    return true;
  }
  return false;
}

}  // namespace redline

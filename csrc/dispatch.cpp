#include <cstring>
#include <vector>

#include "kernels.h"
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace redline {

namespace scalar { const Kernels& table(); }
#if REDLINE_HAVE_X86
namespace avx2 { const Kernels& table(); }
namespace avx512 { const Kernels& table(); }
namespace amx { const Kernels& table(); }
#endif

namespace {

#if REDLINE_HAVE_X86
// Linux lets a process use tiles only after it has asked, because they make its saved state larger.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// The tables that this machine can run, the widest first.
std::vector<const Kernels*> find_supported() {
  std::vector<const Kernels*> tables;
#if REDLINE_HAVE_X86
  __builtin_cpu_init();
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vnni");
  const bool has_amx = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
                       __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16");
  if (has_avx2 && has_avx512 && has_amx && may_use_tiles()) tables.push_back(&amx::table());
  if (has_avx2 && has_avx512) tables.push_back(&avx512::table());
  if (has_avx2) tables.push_back(&avx2::table());
#endif
  tables.push_back(&scalar::table());
  return tables;
}

const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*> tables = find_supported();
  return tables;
}

const Kernels*& current() {
  static const Kernels* table = supported()[0];
  return table;
}

}  // namespace

const Kernels& kernels() { return *current(); }
const Kernels& widest_kernels() { return *supported()[0]; }

bool select(const char* name) {
  const bool widest = std::strcmp(name, "auto") == 0;
  for (const Kernels* table : supported())
    if (widest || std::strcmp(name, table->name) == 0) {
      current() = table;
      return true;
    }
  return false;
}

}  // namespace redline

#include "memory.h"

#if defined(__linux__)
#include <malloc.h>
#endif

namespace redline {

bool keep_freed_memory() {
#if defined(__GLIBC__)
  constexpr int kLargestArray = 32 << 20;  // the most that glibc accepts; larger ones are mapped one by one
  constexpr int kKept = 256 << 20;
  return mallopt(M_MMAP_THRESHOLD, kLargestArray) && mallopt(M_TRIM_THRESHOLD, kKept);
#else
  return false;
#endif
}

void return_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace redline

#include "cpu/declare.h"

namespace redline {
namespace REDLINE_ISA {

void known_ids(const int32_t* ids, int32_t limit, int32_t* known, int64_t count) {
  for (int64_t i = 0; i < count; ++i) known[i] = ids[i] < limit ? ids[i] : 0;
}

}  // namespace REDLINE_ISA
}  // namespace redline

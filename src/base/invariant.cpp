#include "base/invariant.h"

#include <cstdio>
#include <cstdlib>

namespace stoker {

void invariant_failed(const char* condition, const char* file, int line,
                      const std::string& message) {
  std::fprintf(stderr, "stoker: invariant broken at %s:%d: %s (%s)\n", file, line, condition,
               message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace stoker

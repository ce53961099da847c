#include "base/invariant.h"

#include <cstdio>
#include <cstdlib>

namespace stoker {
namespace {
thread_local int throwing = 0;
}

InvariantsThrow::InvariantsThrow() {
  ++throwing;
}
InvariantsThrow::~InvariantsThrow() {
  --throwing;
}

void invariant_failed(const char* condition, const char* file, int line,
                      const std::string& message) {
  if (throwing > 0) {
    throw InvariantBroken(fmt::format("{}:{}: {} ({})", file, line, condition, message));
  }
  std::fprintf(stderr, "stoker: invariant broken at %s:%d: %s (%s)\n", file, line, condition,
               message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace stoker

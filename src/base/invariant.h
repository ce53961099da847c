// Checks of our own logic, on in every build. Only for bugs of ours; never for bad input or a
// failing world.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace stoker {

/// What a broken invariant throws in a thread that asked for it.
class InvariantBroken : public std::logic_error {
  using std::logic_error::logic_error;
};

/// While one lives, a broken invariant of this thread throws InvariantBroken instead of ending the
/// process. For the simulator and for tests alone, which then drop the object whose invariant
/// broke: it cannot be used any more.
class InvariantsThrow {
 public:
  InvariantsThrow();
  ~InvariantsThrow();
  InvariantsThrow(const InvariantsThrow&) = delete;
  InvariantsThrow& operator=(const InvariantsThrow&) = delete;
};

[[noreturn]] void invariant_failed(const char* condition, const char* file, int line,
                                   const std::string& message);

}  // namespace stoker

/// STOKER_INVARIANT(condition, "format", values...): the first value is the id to search for.
#define STOKER_INVARIANT(condition, ...) \
  ((condition)                           \
       ? static_cast<void>(0)            \
       : ::stoker::invariant_failed(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)))

// Checks of our own logic, on in every build. Only for bugs of ours; never for bad input or a
// failing world.
#pragma once

#include <fmt/format.h>

#include <string>

namespace stoker {

[[noreturn]] void invariant_failed(const char* condition, const char* file, int line,
                                   const std::string& message);

}  // namespace stoker

/// STOKER_INVARIANT(condition, "format", values...): the first value is the id to search for.
#define STOKER_INVARIANT(condition, ...) \
  ((condition)                           \
       ? static_cast<void>(0)            \
       : ::stoker::invariant_failed(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)))

// A session in a trace file: any text. In memory it is a hash of it, and a hash that we wrote reads
// back as itself.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fnv1a.h"

namespace stoker::sim {

inline void append_session_text(std::string& out, std::uint64_t session) {
  fmt::format_to(std::back_inserter(out), "s{:016x}", session);
}

/// Gives: never 0 but for an empty text, as 0 means that there is no session.
inline std::uint64_t session_from_text(std::string_view text) {
  if (text.empty()) return 0;
  std::uint64_t session = 0;
  if (text.size() == 17 && text.front() == 's') {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + 1, end, session, 16);
    if (error == std::errc{} && stop == end && session != 0) return session;
  }
  session = fnv1a(text);
  return session == 0 ? 1 : session;
}

}  // namespace stoker::sim

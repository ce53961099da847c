// A recorded run of a server's decision core, decided again: the same events must give the same
// orders, byte for byte, on any CPU and from any compiler (DESIGN.md 4.12).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stoker::sim {

struct EventReplay {
  std::uint64_t events = 0;
  std::uint64_t actions = 0;
  std::uint64_t action_hash = 0;  // FNV-1a over the bytes of all orders
  bool cut_off = false;           // the recording ended inside a record, as after kill -9
  std::string first_difference;   // empty: there is none
};
/// `recording`: the content of a file that `serve --record-events` wrote. `trace` hears each event
/// and order in words; may be null.
/// Errors: it is no such file.
[[nodiscard]] Result<EventReplay> replay_events(
    std::string_view recording, const std::function<void(const std::string&)>& trace = {});

}  // namespace stoker::sim

#include "sim/event_replay.h"

#include <fmt/format.h>

#include <memory>

#include "base/fnv1a.h"
#include "core/describe.h"
#include "core/event_codec.h"

namespace stoker::sim {
namespace {
constexpr std::string_view first_line = "stoker-events 2\n";
}

Result<EventReplay> replay_events(std::string_view rest,
                                  const std::function<void(const std::string&)>& trace) {
  if (!rest.starts_with(first_line)) {
    return failure(ErrorCode::invalid, "this is no recording of events, or one of another version",
                   "stoker serve --record-events FILE makes one");
  }
  rest.remove_prefix(first_line.size());
  EventReplay replay;
  std::unique_ptr<core::Core> core;
  std::string all_orders;
  while (!rest.empty()) {
    const char kind = rest.front();
    rest.remove_prefix(1);
    if (kind == 'C') {
      const auto config = core::decode_config(rest);
      if (!config) break;
      core = std::make_unique<core::Core>(*config);
      continue;
    }
    if (kind != 'E' || core == nullptr) {
      return failure(ErrorCode::corrupt,
                     fmt::format("the recording is damaged after event {}", replay.events));
    }
    const auto timed = core::decode_event(rest);
    if (!timed) {
      replay.cut_off = true;
      break;
    }
    core::Actions actions;
    core->step(timed->at, timed->event, actions);
    if (trace) {
      trace(fmt::format("{:>14.6f}  {}", static_cast<double>(timed->at.ns) / 1e9,
                        core::describe(timed->event)));
      for (const core::Action& action : actions) {
        trace("                  -> " + core::describe(action));
      }
    }
    ++replay.events;
    replay.actions += actions.size();
    std::string orders;
    for (const core::Action& action : actions) {
      orders += 'A';
      core::encode(orders, action);
    }
    all_orders += orders;
    if (rest.starts_with(orders) && !rest.substr(orders.size()).starts_with('A')) {
      rest.remove_prefix(orders.size());
      continue;
    }
    if (orders.starts_with(rest)) {
      replay.cut_off = true;
      break;
    }
    replay.first_difference =
        fmt::format("event {} at {:.6f} s: {}", replay.events,
                    static_cast<double>(timed->at.ns) / 1e9, core::describe(timed->event));
    break;
  }
  replay.action_hash = fnv1a(all_orders);
  return replay;
}

}  // namespace stoker::sim

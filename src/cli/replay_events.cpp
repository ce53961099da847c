// stoker replay --events: what a server decided, decided again from its recorded events.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "base/json_writer.h"
#include "cli/replay.h"
#include "sim/event_replay.h"

namespace stoker::cli {

int replay_events(const Context& context, const std::string& path, bool trace) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return complain(context, {ErrorCode::not_found, "cannot read " + path,
                              "name a file that stoker serve --record-events wrote"});
  }
  const std::string recording{std::istreambuf_iterator<char>(file), {}};
  const auto print = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  const Result<sim::EventReplay> replay =
      trace ? sim::replay_events(recording, print) : sim::replay_events(recording);
  if (!replay) return complain(context, replay.error());
  const bool identical = replay->first_difference.empty();
  if (context.json) {
    JsonWriter json;
    json.object([&] {
      json.field("events", static_cast<std::int64_t>(replay->events));
      json.field("actions", static_cast<std::int64_t>(replay->actions));
      json.field("action_hash", fmt::format("{:016x}", replay->action_hash));
      json.field("identical", identical);
      json.field("cut_off", replay->cut_off);
      if (!identical) json.field("first_difference", replay->first_difference);
    });
    std::printf("%s\n", json.text().c_str());
  } else {
    std::printf("%llu events, %llu orders, %s%s\n", static_cast<unsigned long long>(replay->events),
                static_cast<unsigned long long>(replay->actions),
                identical ? "all as they were recorded" : "but not as they were recorded",
                replay->cut_off ? " (the recording is cut off at its end)" : "");
    if (!identical) {
      std::printf("the first difference: %s\n  see it: stoker replay --events %s --trace\n",
                  replay->first_difference.c_str(), path.c_str());
    }
  }
  return identical ? exit_ok : exit_failed;
}

}  // namespace stoker::cli

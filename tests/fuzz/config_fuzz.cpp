// Any bytes as a configuration file: no crash, no exception, bounded time; and a file that is
// accepted reads back from its canonical text as the same configuration.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/invariant.h"
#include "config/load.h"

namespace config = stoker::config;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const config::Environment environment = [](std::string_view name) -> std::optional<std::string> {
    if (name.size() > 4) return std::nullopt;
    return "${env.X} \"'\n: #";
  };
  const config::Loaded loaded = config::parse(text, "fuzz.yaml", environment);
  for (const config::Problem& problem : loaded.problems) {
    STOKER_INVARIANT(!problem.message.empty(), "a problem says nothing");
    static_cast<void>(config::to_text(problem));
  }
  if (!loaded.ok()) return 0;
  const std::string canonical = config::to_yaml(loaded.config);
  const config::Loaded again = config::parse(canonical, "canonical.yaml", environment);
  STOKER_INVARIANT(again.ok(), "canonical text is refused: {}",
                   config::to_text(again.problems.front()));
  STOKER_INVARIANT(config::to_yaml(again.config) == canonical, "canonical text changed");
  return 0;
}

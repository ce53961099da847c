// Durations as Go writes them, which is how clients of Ollama and Replicate do: "1h30m", "500ms".
#pragma once

#include <limits>
#include <optional>
#include <string_view>

#include "base/units.h"

namespace stoker::gateway {

/// What a negative duration means.
inline constexpr Duration for_ever{std::numeric_limits<std::int64_t>::max()};

/// Negative is for ever, and so is what no clock can count to.
[[nodiscard]] Duration duration_of_ns(double ns);
/// "1h30m", "-1s", "0"; a number without a unit is seconds. Gives: nullopt where it is none.
/// Source: Go, time.ParseDuration.
[[nodiscard]] std::optional<Duration> parse_go_duration(std::string_view text);

}  // namespace stoker::gateway

// Numbers as people write and read them: "40GiB", "5 minutes", "70%", "$0.001", and back.
// Parsing is exact (integers); a value that cannot be kept exactly is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/money.h"
#include "base/units.h"

namespace stoker {

[[nodiscard]] std::string to_text(Bytes bytes);        // "3.0 MiB"
[[nodiscard]] std::string to_text(Duration duration);  // "1.25 s", "34 ms"
/// Decimal digits of an amount in pico-units, without trailing zeros: "0.00005".
[[nodiscard]] std::string to_text(Pico amount);

/// The known word nearest to `word`: at most two edits away, the first of equals. Two neighbours
/// that changed places are one edit.
/// Source: optimal string alignment distance, three-row dynamic programming.
[[nodiscard]] std::optional<std::string_view> closest(std::string_view word,
                                                      std::span<const std::string_view> known);

/// "req-000001000000002a": what people see and send back for a request.
[[nodiscard]] std::string public_id(RequestId id);
void append_public_id(std::string& text, RequestId id);
[[nodiscard]] std::optional<RequestId> parse_request_id(std::string_view text);

/// RFC 3339 in UTC with milliseconds: "2026-01-31T12:00:00.123Z".
[[nodiscard]] std::string to_text(WallTime time);

}  // namespace stoker

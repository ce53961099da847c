// Decimal numbers of a file as whole numbers of a small unit, without a double in between: "1.25"
// milliseconds are 1,250,000 ns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stoker::sim {

/// Gives: the number times 10^decimals, further digits rounded to the nearest (half away from
/// zero); nullopt if it is no number or too large. Accepts what JSON accepts, exponents included.
[[nodiscard]] std::optional<std::int64_t> parse_decimal(std::string_view text, int decimals);
/// Appends value / 10^decimals in as few digits as say it exactly.  Needs: 0 <= decimals <= 18.
void append_decimal(std::string& out, std::int64_t value, int decimals);

}  // namespace stoker::sim

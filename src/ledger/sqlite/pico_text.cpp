#include "ledger/sqlite/pico_text.h"

#include <fmt/format.h>

#include <cstdint>

namespace stoker::ledger {

std::string pico_text(Pico amount) {
  if (amount.value < INT64_MIN || amount.value > INT64_MAX) {
    return fmt::format("{}", amount.value);
  }
  return fmt::format_int(static_cast<std::int64_t>(amount.value)).str();  // ten times as fast
}

std::optional<Pico> parse_pico(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  Int128 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const Int128 digit = c - '0';
    // Counted downwards: the smallest number has no positive twin.
    if (__builtin_mul_overflow(value, Int128{10}, &value) ||
        __builtin_sub_overflow(value, digit, &value)) {
      return std::nullopt;
    }
  }
  if (negative) return Pico{value};
  if (__builtin_sub_overflow(Int128{0}, value, &value)) return std::nullopt;
  return Pico{value};
}

}  // namespace stoker::ledger

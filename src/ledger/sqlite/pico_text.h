// Amounts as SQLite keeps them: the pico-units as a decimal integer in a text column, because they
// need more than 64 bits.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/money.h"

namespace stoker::ledger {

[[nodiscard]] std::string pico_text(Pico amount);
/// Gives: nothing unless `text` is an integer of at most 128 bits.
[[nodiscard]] std::optional<Pico> parse_pico(std::string_view text);

}  // namespace stoker::ledger

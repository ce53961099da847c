// Receipts for people: one line, or several side by side as a bar chart of phases.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::cli {

struct Phase {
  std::string name;
  double ms = 0;
};
struct Receipt {
  std::string title;  // "cold"
  std::string request;
  std::vector<Phase> phases;  // in order, without total
  double total_ms = 0;
};

/// From the JSON of GET /api/v1/requests/{id} or of the comment of a stream. nullopt: not one.
[[nodiscard]] std::optional<Receipt> parse_receipt(std::string_view json, std::string title);
/// "[cold: start 40 ms, load 14 ms, ... total 120 ms]\n"
[[nodiscard]] std::string receipt_line(std::string_view json);
/// One row a phase, one column a receipt, bars to one scale.
[[nodiscard]] std::string receipt_chart(const std::vector<Receipt>& receipts);

}  // namespace stoker::cli

#include "cli/receipt_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "cli/json_view.h"

namespace stoker::cli {
namespace {

constexpr std::array<const char*, 7> phase_names = {"queue",  "allocate", "start",   "load",
                                                    "warmup", "ttft",     "generate"};
constexpr int bar_cells = 24;

std::string bar(double ms, double longest_ms) {
  if (ms <= 0 || longest_ms <= 0) return {};
  const int cells = static_cast<int>(std::lround(ms / longest_ms * bar_cells));
  std::string text;
  for (int i = 0; i < std::max(cells, 1); ++i) text += cells == 0 ? "\u258f" : "\u2588";
  return text;
}

}  // namespace

std::optional<Receipt> parse_receipt(std::string_view json, std::string title) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::element phases;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS) return std::nullopt;
  if (root["phases_ms"].get(phases) != simdjson::SUCCESS) return std::nullopt;
  Receipt receipt;
  receipt.title = title.empty() ? text_of(root, "start") : std::move(title);
  receipt.request = text_of(root, "request");
  for (const char* name : phase_names) receipt.phases.push_back({name, number_of(phases, name)});
  receipt.total_ms = number_of(phases, "total");
  return receipt;
}

std::string receipt_line(std::string_view json) {
  const std::optional<Receipt> receipt = parse_receipt(json, "");
  if (!receipt) return {};
  std::string text = "[" + receipt->title + ":";
  for (const Phase& phase : receipt->phases) {
    if (phase.ms >= 0.05) text += fmt::format(" {} {:.1f} ms,", phase.name, phase.ms);
  }
  return text + fmt::format(" total {:.1f} ms]\n", receipt->total_ms);
}

std::string receipt_chart(const std::vector<Receipt>& receipts) {
  double longest = 0;
  for (const Receipt& r : receipts) {
    for (const Phase& phase : r.phases) longest = std::max(longest, phase.ms);
  }
  constexpr int column = bar_cells + 13;
  std::string out = fmt::format("{:<10}", "");
  for (const Receipt& r : receipts) out += fmt::format("{:<{}}", r.title, column);
  out += '\n';
  for (std::size_t i = 0; i < phase_names.size(); ++i) {
    std::string line = fmt::format("{:<10}", phase_names[i]);
    for (const Receipt& r : receipts) {
      const std::string drawn = bar(r.phases[i].ms, longest);
      // A block character is three bytes and one cell.
      const int cells = static_cast<int>(drawn.size() / 3);
      line += fmt::format("{:>8.1f} ms {}", r.phases[i].ms, drawn);
      line.append(static_cast<std::size_t>(column - 12 - cells), ' ');
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  out += fmt::format("{:<10}", "total");
  for (const Receipt& r : receipts) {
    out += fmt::format("{:<{}}", fmt::format("{:>8.1f} ms", r.total_ms), column);
  }
  out = out.substr(0, out.find_last_not_of(' ') + 1) + "\n";
  return out;
}

}  // namespace stoker::cli

#include "cli/table.h"

#include <algorithm>

namespace stoker::cli {
namespace {

struct Decimals {
  std::size_t end = 0;    // of the number in its cell
  std::size_t count = 0;  // digits behind its point
};

Decimals decimals_of(const std::string& cell) {
  const std::size_t end = std::min(cell.find(' '), cell.size());
  const std::size_t point = cell.find('.');
  return {end, point < end ? end - point - 1 : 0};
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::size_t missing = widths[i] - row[i].size();
      const bool right = i < sides_.size() && sides_[i] == 'r';
      if (right) line.append(missing, ' ');
      line += row[i];
      if (i + 1 < row.size()) line.append((right ? 0 : missing) + 2, ' ');
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

void Table::line_up_decimals(std::size_t column) {
  std::size_t most = 0;
  for (std::size_t i = 1; i < rows_.size(); ++i) {
    most = std::max(most, decimals_of(rows_[i][column]).count);
  }
  for (std::size_t i = 1; i < rows_.size(); ++i) {
    std::string& cell = rows_[i][column];
    const Decimals has = decimals_of(cell);
    if (has.count == most) continue;
    cell.insert(has.end, (has.count == 0 ? "." : "") + std::string(most - has.count, '0'));
  }
}

}  // namespace stoker::cli

// A table for people: columns as wide as their widest cell, two spaces between them, numbers to the
// right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stoker::cli {

class Table {
 public:
  /// `sides`: one character a column, 'l' or 'r' for where its cells stand.
  Table(std::string_view sides, std::vector<std::string> headings) : sides_(sides) {
    rows_.push_back(std::move(headings));
  }
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] bool empty() const { return rows_.size() == 1; }
  [[nodiscard]] std::string text() const;
  /// Gives the numbers of a column so many zeros that all have as many decimals as the longest.
  /// Their values stay exact. A cell may go on after its number ("0.5 USD").
  void line_up_decimals(std::size_t column);

 private:
  std::string sides_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace stoker::cli

// Reads the JSON object of a deployment's options with types, defaults and ranges, and finds the
// unknown ones. All problems at once, in words for the user.
//
//   OptionReader options(order.options);
//   context = options.integer("context", 4096, {.min = 128, .max = 1 << 20});
//   if (auto problem = options.finish()) return load_failure(LoadFailure::bad_option, *problem);
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace stoker::worker {

struct IntegerRange {
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
};
struct NumberRange {
  double min = -std::numeric_limits<double>::max();
  double max = std::numeric_limits<double>::max();
};

class OptionReader {
 public:
  /// `json` is the text of one object; anything else is a problem of its own.
  explicit OptionReader(std::string json);
  ~OptionReader();
  OptionReader(const OptionReader&) = delete;
  OptionReader& operator=(const OptionReader&) = delete;

  /// Each gives `fallback` when the key is absent (or its value a problem) and marks it as known.
  std::int64_t integer(std::string_view key, std::int64_t fallback, IntegerRange range = {});
  double number(std::string_view key, double fallback, NumberRange range = {});
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  std::vector<std::string> texts(std::string_view key);
  /// "200ms", "2s", "5 minutes", or a number of milliseconds.
  Duration duration(std::string_view key, Duration fallback);
  /// "64MiB", "2GB", or a number of bytes.
  Bytes bytes(std::string_view key, Bytes fallback);
  /// The JSON text of a value of any kind; nullopt if absent.
  std::optional<std::string> raw(std::string_view key);

  /// Keys of the object in their order, for options that are passed on.
  [[nodiscard]] std::vector<std::string> keys() const;
  void problem(std::string text);
  /// Gives: nullopt, or all problems, unknown keys included, as one line.
  [[nodiscard]] std::optional<std::string> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::worker

// Where a setting came from, and the collector of everything that is wrong with the settings.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/problem.h"
#include "config/yaml_tree.h"

namespace stoker::config {

/// What a spelling of another system means by a number without a unit.
enum class Reading : std::uint8_t {
  as_written,  // ours: the unit must be there
  seconds,
  milliseconds,
  percent,
  keep_alive,   // seconds, negative is for ever (Ollama)
  ttl,          // seconds, 0 is for ever (llama-swap)
  per_token,    // a price per token where ours is per 1,000
  per_million,  // a price per 1,000,000 tokens where ours is per 1,000
};

/// One place that gives a setting. There are several when a key is spelled in two ways, or is
/// overridden on the command line.
struct Source {
  const YamlNode* node = nullptr;
  Place place;  // of the key
  std::string_view file;
  std::string path;       // as written: "deployments.chat.deployment.min_replicas"
  std::string canonical;  // "deployments.chat.autoscaling.min_instances"
  Reading reading = Reading::as_written;
  bool is_override = false;

  [[nodiscard]] Source child(const YamlEntry& entry, std::string_view canonical_name,
                             Reading entry_reading = Reading::as_written) const;
};
using Sources = std::vector<Source>;

class Reader {
 public:
  /// Prices in the file must be in this currency.
  std::string currency = "USD";

  void error(const Source& source, std::string message, std::string hint = {});
  void warning(const Source& source, std::string message, std::string hint = {});
  /// For checks that look at more than one setting: at the setting of that canonical path, or at
  /// the nearest one above it that the file gives.
  void error_at(std::string_view canonical, std::string message, std::string hint = {});
  void warning_at(std::string_view canonical, std::string message, std::string hint = {});
  void unknown_key(const Source& block, const YamlEntry& entry,
                   std::span<const std::string_view> known);

  /// Remembers the source for error_at(); the first one stays unless a later one overrides it.
  void note(const Source& source);
  [[nodiscard]] bool is_given(std::string_view canonical) const;
  /// From the command line, not from the file.
  [[nodiscard]] bool is_override(std::string_view canonical) const;
  /// An error was reported at exactly that setting or an item of it, so that what follows from its
  /// value need not be said.
  [[nodiscard]] bool is_wrong(std::string_view canonical) const;
  std::vector<Problem>& problems() { return problems_; }

 private:
  void add(Problem::Severity severity, const Source& source, std::string message, std::string hint);
  [[nodiscard]] Source nearest(std::string_view canonical) const;

  std::vector<Problem> problems_;
  std::map<std::string, Source, std::less<>> noted_;
  std::set<std::string, std::less<>> wrong_;  // canonical paths
};

/// The ones that count: overrides if there are any, else all.
[[nodiscard]] Sources effective(const Sources& sources);

/// The map entries of all `sources`; a source that is no map is a problem, a null one is empty.
/// `what` says what was wanted: "a block of settings".
[[nodiscard]] std::vector<std::pair<const Source*, const YamlEntry*>> entries_of(
    Reader& reader, const Sources& sources, std::string_view what);

/// "a list", "a block", "text": for messages.
[[nodiscard]] std::string_view kind_name(YamlNode::Kind kind);

}  // namespace stoker::config

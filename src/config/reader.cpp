#include "config/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "base/text.h"

namespace stoker::config {
namespace {

struct Advice {
  std::string_view key;
  std::string_view hint;
};

/// Keys of other systems that have no equal here, and keys that stand in another block.
constexpr std::array advices = {
    Advice{"target", "Stoker aims at target_utilization of concurrency"},
    Advice{"target_ongoing_requests", "Stoker aims at target_utilization of concurrency"},
    Advice{"target_inputs", "Stoker aims at target_utilization of concurrency"},
    Advice{"targetRequests", "Stoker aims at target_utilization of concurrency"},
    Advice{"scaleTarget", "Stoker aims at target_utilization of concurrency"},
    Advice{"scaleMetric", "see scale_on"},
    Advice{"gpu", "write resources: {devices: 1}"},
    Advice{"gpus", "write resources: {devices: 1}"},
    Advice{"num_gpus", "write resources: {devices: 1}"},
    Advice{"gpu_count", "write resources: {devices: 1}"},
    Advice{"cmd", "write command: as a list, [program, argument, ...]"},
    Advice{"port", "write listen: 127.0.0.1:8080"},
    Advice{"host", "write listen: 127.0.0.1:8080"},
    Advice{"models", "write deployments:"},
    Advice{"deployment", "write deployments:, and below it NAME: with its settings"},
    Advice{"min_instances", "belongs under autoscaling:"},
    Advice{"max_instances", "belongs under autoscaling:"},
    Advice{"min_replicas", "belongs under autoscaling:"},
    Advice{"max_replicas", "belongs under autoscaling:"},
    Advice{"minReplicas", "belongs under autoscaling:"},
    Advice{"maxReplicas", "belongs under autoscaling:"},
    Advice{"target_utilization", "belongs under autoscaling:"},
    Advice{"scale_up_threshold", "belongs under autoscaling:"},
    Advice{"scale_down_delay", "belongs under autoscaling:"},
    Advice{"scale_to_zero_delay", "belongs under autoscaling:"},
    Advice{"keep_alive", "belongs under autoscaling:"},
    Advice{"ttl", "belongs under autoscaling:"},
    Advice{"max_queued", "belongs under limits:"},
    Advice{"queue_timeout", "belongs under limits:"},
    Advice{"start_timeout", "belongs under limits:"},
    Advice{"load_timeout", "belongs under limits:"},
    Advice{"request_timeout", "belongs under limits:"},
    Advice{"timeout", "belongs under limits:, as request_timeout"},
    Advice{"context", "belongs under options:"},
    Advice{"options", "belongs under a deployment"},
    Advice{"concurrency", "belongs under a deployment"},
};

}  // namespace

Source Source::child(const YamlEntry& entry, std::string_view canonical_name,
                     Reading entry_reading) const {
  const auto joined = [](const std::string& parent, std::string_view name) {
    return parent.empty() ? std::string(name) : fmt::format("{}.{}", parent, name);
  };
  Source source;
  source.node = &entry.value;
  source.place = entry.place;
  source.file = file;
  source.path = joined(path, entry.key);
  source.canonical = joined(canonical, canonical_name);
  source.reading = entry_reading;
  source.is_override = is_override;
  return source;
}

void Reader::add(Problem::Severity severity, const Source& source, std::string message,
                 std::string hint) {
  const bool has_value = source.node != nullptr && source.node->place.line > 0 &&
                         source.node->kind == YamlNode::Kind::scalar;
  const Place place = has_value ? source.node->place : source.place;
  problems_.push_back({severity, std::string(source.file), place.line, place.column, source.path,
                       std::move(message), std::move(hint)});
}

void Reader::error(const Source& source, std::string message, std::string hint) {
  wrong_.insert(source.canonical.substr(0, source.canonical.find('[')));
  add(Problem::Severity::error, source, std::move(message), std::move(hint));
}

void Reader::warning(const Source& source, std::string message, std::string hint) {
  add(Problem::Severity::warning, source, std::move(message), std::move(hint));
}

void Reader::error_at(std::string_view canonical, std::string message, std::string hint) {
  error(nearest(canonical), std::move(message), std::move(hint));
}

void Reader::warning_at(std::string_view canonical, std::string message, std::string hint) {
  warning(nearest(canonical), std::move(message), std::move(hint));
}

void Reader::unknown_key(const Source& block, const YamlEntry& entry,
                         std::span<const std::string_view> known) {
  const Source source = block.child(entry, entry.key);
  std::string hint;
  if (const auto advice = std::ranges::find(advices, entry.key, &Advice::key);
      advice != advices.end()) {
    hint = advice->hint;
  } else if (const auto near = closest(entry.key, known)) {
    hint = fmt::format("did you mean '{}'?", *near);
  }
  problems_.push_back({Problem::Severity::error, std::string(source.file), entry.place.line,
                       entry.place.column, source.path, "unknown key", std::move(hint)});
}

void Reader::note(const Source& source) {
  const auto [noted, fresh] = noted_.try_emplace(source.canonical, source);
  if (!fresh && source.is_override) noted->second = source;
}

bool Reader::is_given(std::string_view canonical) const {
  return noted_.contains(canonical);
}

bool Reader::is_override(std::string_view canonical) const {
  const auto found = noted_.find(canonical);
  return found != noted_.end() && found->second.is_override;
}

bool Reader::is_wrong(std::string_view canonical) const {
  return wrong_.contains(canonical);
}

Source Reader::nearest(std::string_view canonical) const {
  std::string_view path = canonical;
  while (true) {
    if (const auto found = noted_.find(path); found != noted_.end()) {
      Source source = found->second;
      source.path += canonical.substr(path.size());
      return source;
    }
    const std::size_t dot = path.rfind('.');
    if (dot == std::string_view::npos) break;
    path = path.substr(0, dot);
  }
  Source source;
  if (const auto root = noted_.find(""); root != noted_.end()) source.file = root->second.file;
  source.path = canonical;
  return source;
}

Sources effective(const Sources& sources) {
  Sources overrides;
  std::ranges::copy_if(sources, std::back_inserter(overrides), &Source::is_override);
  if (overrides.empty()) return sources;
  return {overrides.back()};
}

std::vector<std::pair<const Source*, const YamlEntry*>> entries_of(Reader& reader,
                                                                   const Sources& sources,
                                                                   std::string_view what) {
  std::vector<std::pair<const Source*, const YamlEntry*>> entries;
  for (const Source& source : sources) {
    if (source.node->kind == YamlNode::Kind::null) continue;
    if (source.node->kind != YamlNode::Kind::map) {
      reader.error(source, fmt::format("must be {}, not {}", what, kind_name(source.node->kind)));
      continue;
    }
    for (const YamlEntry& entry : source.node->entries) entries.emplace_back(&source, &entry);
  }
  return entries;
}

std::string_view kind_name(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::null:
      return "empty";
    case YamlNode::Kind::scalar:
      return "a single value";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      break;
  }
  return "a block";
}

}  // namespace stoker::config

#include "config/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <system_error>
#include <tuple>

#include "base/fnv1a.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "config/check.h"
#include "config/paths.h"
#include "config/reader.h"
#include "config/tables.h"
#include "config/yaml_tree.h"
#include "config/yaml_writer.h"

namespace stoker::config {
namespace {

Problem whole_file(std::string_view file, std::string message, std::string hint = {}) {
  Problem problem;
  problem.file = file;
  problem.message = std::move(message);
  problem.hint = std::move(hint);
  return problem;
}

/// "deployments.llama3.2.concurrency" has a name with a dot: the longest name that the file has
/// wins.
std::vector<std::string> split_path(std::string_view path, const YamlNode& root) {
  std::vector<std::string> segments;
  static const YamlNode nothing;
  const YamlNode* node = &root;
  while (true) {
    std::size_t length = std::min(path.find('.'), path.size());
    const YamlNode* next = &nothing;
    for (const YamlEntry& entry : node->entries) {
      if (!path.starts_with(entry.key) || entry.key.size() < length) continue;
      const bool ends_here = path.size() == entry.key.size() || path[entry.key.size()] == '.';
      if (!ends_here) continue;
      length = entry.key.size();
      next = &entry.value;
    }
    segments.emplace_back(path.substr(0, length));
    if (length >= path.size()) return segments;
    path.remove_prefix(length + 1);
    node = next;
  }
}

/// An override has no place in a file.
void forget_places(YamlNode& node) {
  node.place = {};
  for (YamlNode& item : node.items) forget_places(item);
  for (YamlEntry& entry : node.entries) {
    entry.place = {};
    forget_places(entry.value);
  }
}

/// "a.b.c" and a value -> {a: {b: {c: value}}}.
YamlNode nested(const std::vector<std::string>& segments, YamlNode value) {
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    YamlNode map;
    map.kind = YamlNode::Kind::map;
    map.entries.push_back({*segment, {}, std::move(value)});
    value = std::move(map);
  }
  return value;
}

struct Document {
  std::string name;  // of the file, or "--set"
  YamlNode root;
  bool is_override = false;
};

/// Gives: false if the file itself is broken, so that reading on would only add noise.
bool read_documents(std::string_view yaml, std::string_view file_name,
                    const Environment& environment, const std::vector<Override>& overrides,
                    std::deque<Document>& documents, std::vector<Problem>& problems) {
  std::optional<YamlNode> root = parse_yaml(yaml, file_name, problems);
  if (!root) return false;
  if (root->kind == YamlNode::Kind::null) {
    problems.push_back(whole_file(file_name, "is empty", "begin with deployments:"));
    return false;
  }
  expand_macros(*root, file_name, environment, problems);
  documents.push_back({std::string(file_name), std::move(*root), false});
  for (const Override& setting : overrides) {
    const std::size_t before = problems.size();
    std::optional<YamlNode> value = parse_yaml(setting.value, setting.flag, problems);
    if (value) {
      forget_places(*value);
      expand_macros(*value, setting.flag, environment, problems);
      documents.push_back(
          {setting.flag,
           nested(split_path(setting.path, documents.front().root), std::move(*value)), true});
    }
    for (std::size_t i = before; i < problems.size(); ++i) {
      problems[i].path = setting.path;
      problems[i].line = 0;
    }
  }
  return true;
}

/// The currency is needed to read prices, wherever it stands in the file.
std::string currency_of(const std::deque<Document>& documents) {
  std::string currency = ServerConfig{}.currency;
  for (const Document& document : documents) {
    for (const YamlEntry& entry : document.root.entries) {
      if (entry.key == "currency" && !entry.value.text.empty()) currency = entry.value.text;
    }
  }
  return currency;
}

enum class Files : std::uint8_t { ignore, look };

Loaded parse_and_check(std::string_view yaml, std::string_view file_name,
                       const Environment& environment, const std::vector<Override>& overrides,
                       Files files) {
  Loaded loaded;
  std::deque<Document> documents;
  Reader reader;
  if (read_documents(yaml, file_name, environment, overrides, documents, reader.problems())) {
    reader.currency = currency_of(documents);
    Sources roots;
    for (const Document& document : documents) {
      Source root;
      root.node = &document.root;
      root.file = document.name;
      root.is_override = document.is_override;
      reader.note(root);
      roots.push_back(root);
    }
    read_block(reader, server_table(), roots, loaded.config);
    resolve(loaded.config, reader);
    check(loaded.config, reader);
    if (files == Files::look) {
      std::error_code ignored;
      loaded.config.file = std::filesystem::absolute(file_name, ignored).string();
      resolve_paths(loaded.config, std::string(file_name), reader);
      check_files(loaded.config, reader);
    }
  }
  loaded.problems = std::move(reader.problems());
  std::ranges::stable_sort(loaded.problems, {}, [&](const Problem& problem) {
    return std::tuple(problem.file != file_name, problem.line, problem.column);
  });
  return loaded;
}

/// At most one byte more than parse_yaml() takes, which then refuses it.
Result<std::string> read_text(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return tl::unexpected(errno_error("cannot be read"));
  struct stat status{};
  if (::fstat(file.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
    return failure(ErrorCode::invalid, "is a directory", "name the file in it");
  }
  std::string text;
  std::string buffer(std::size_t{64} << 10, '\0');
  while (text.size() <= max_yaml_bytes) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(errno_error("cannot be read"));
    if (got == 0) break;
    text.append(buffer, 0, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

Environment process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* const value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

Loaded parse(std::string_view yaml, std::string_view file_name, const Environment& environment,
             const std::vector<Override>& overrides) {
  return parse_and_check(yaml, file_name, environment, overrides, Files::ignore);
}

Loaded load(const std::string& path, const Environment& environment,
            const std::vector<Override>& overrides) {
  const Result<std::string> text = read_text(path);
  if (text) return parse_and_check(*text, path, environment, overrides, Files::look);
  Loaded loaded;
  const bool is_missing = text.error().code == ErrorCode::not_found;
  loaded.problems.push_back(
      whole_file(path, text.error().message,
                 is_missing ? "write one, or name another with --config" : text.error().hint));
  return loaded;
}

std::optional<std::string> locate(const std::optional<std::string>& flag,
                                  const Environment& environment) {
  if (flag) return flag;
  if (auto named = environment("STOKER_CONFIG"); named && !named->empty()) return named;
  std::vector<std::string> candidates = {"stoker.yaml"};
  if (const auto home = environment("HOME"); home && !home->empty()) {
    candidates.push_back(*home + "/.config/stoker/stoker.yaml");
  }
  for (const std::string& candidate : candidates) {
    std::error_code error;
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return std::nullopt;
}

std::string to_yaml(const ServerConfig& config) {
  return to_block(print_block(server_table(), config));
}

std::vector<std::string> changed_settings(const ServerConfig& a, const ServerConfig& b) {
  std::vector<std::string> names;
  for (const Key<ServerConfig>& key : server_table()) {
    const auto text = [&](const ServerConfig& config) {
      YamlValue only{.line = {}, .is_map = true};
      only.entries.emplace_back("", key.print(config));
      return to_block(only);
    };
    if (text(a) != text(b)) names.emplace_back(key.info.name);
  }
  return names;
}

bool same(const DeploymentConfig& a, const DeploymentConfig& b) {
  const auto text = [](const DeploymentConfig& d) {
    return to_block(print_block(deployment_table(), d));
  };
  return text(a) == text(b);
}

bool same_instances(const DeploymentConfig& a, DeploymentConfig b) {
  b.aliases = a.aliases;
  b.usage = a.usage;
  b.priority = a.priority;
  b.mode = a.mode;
  b.abandoned_load = a.abandoned_load;
  b.autoscaling = a.autoscaling;
  b.keep_warm = a.keep_warm;
  b.limits = a.limits;
  b.pricing = a.pricing;
  b.scale_on = a.scale_on;
  return same(a, b);
}

std::string fingerprint(const ServerConfig& config) {
  ServerConfig shown = config;
  // It stands in logs, and a short secret could be guessed from it.
  for (DeploymentConfig& deployment : shown.deployments) {
    for (auto& [name, value] : deployment.env) value.clear();
  }
  return fmt::format("{:016x}", fnv1a(to_yaml(shown)));
}

}  // namespace stoker::config

#include "config/paths.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/json_writer.h"
#include "config/check.h"
#include "config/runtime_options.h"

namespace stoker::config {
namespace {

namespace fs = std::filesystem;

std::string joined(const fs::path& folder, std::string_view path) {
  std::string text = (folder / path).lexically_normal().string();
  if (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

/// A pipe (`--config /dev/stdin`) has no folder of its own.
fs::path folder_of(const std::string& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return fs::current_path(ignored);
  return fs::absolute(file, ignored).parent_path();
}

class Resolver {
 public:
  Resolver(const std::string& file, const Reader& reader)
      : folder_(folder_of(file)), reader_(reader) {
    std::error_code ignored;
    here_ = fs::current_path(ignored);
  }

  /// Of the setting with that canonical path.
  [[nodiscard]] const fs::path& base(std::string_view setting) const {
    return reader_.is_override(setting) ? here_ : folder_;
  }
  void resolve(std::string& path, std::string_view setting) const {
    if (!path.empty()) path = joined(base(setting), path);
  }

 private:
  fs::path folder_;
  fs::path here_;
  const Reader& reader_;
};

/// A foreign engine may take "org/name", which is no path, and fetch it itself.
void resolve_model(DeploymentConfig& d, const fs::path& base) {
  const std::string path = local_path(d.model);
  if (path.empty()) return;
  const bool is_ours = d.runtime == Runtime::llama_cpp || d.runtime == Runtime::onnx;
  const bool is_path =
      path != d.model || path.starts_with('/') || path.starts_with("./") || path.starts_with("../");
  std::error_code ignored;
  if (is_ours || is_path || fs::exists(base / path, ignored)) d.model = joined(base, path);
}

/// An argument becomes absolute where it names what is there. A word without a slash must name a
/// file: `serve` is more often a word than a folder of that name.
void resolve_command(DeploymentConfig& d, const fs::path& base) {
  for (std::size_t i = 0; i < d.command.size(); ++i) {
    std::string& word = d.command[i];
    const bool has_slash = word.find('/') != std::string::npos;
    std::error_code ignored;
    const bool is_there =
        has_slash ? fs::exists(base / word, ignored) : fs::is_regular_file(base / word, ignored);
    const bool is_program = i == 0;
    if (is_program ? has_slash : !word.empty() && is_there) word = joined(base, word);
  }
}

void resolve_options(DeploymentConfig& d, const fs::path& base) {
  const auto is_path = [&d](std::string_view name) {
    const auto options = options_of(d.runtime);
    const auto option = std::ranges::find(options, name, &OptionInfo::name);
    return option != options.end() && option->type == OptionInfo::Type::path;
  };
  simdjson::dom::parser parser;
  simdjson::dom::object given;
  if (parser.parse(d.options).get(given) != simdjson::SUCCESS) return;
  JsonWriter json;
  bool changed = false;
  json.object([&] {
    for (const auto field : given) {
      std::string_view text;
      if (is_path(field.key) && field.value.get(text) == simdjson::SUCCESS && !text.empty()) {
        json.field(field.key, joined(base, text));
        changed = true;
      } else {
        json.raw_field(field.key, simdjson::minify(field.value));
      }
    }
  });
  if (changed) d.options = json.take();
}

}  // namespace

void resolve_paths(ServerConfig& config, const std::string& file, const Reader& reader) {
  const Resolver resolver(file, reader);
  resolver.resolve(config.state_dir, "state_dir");
  resolver.resolve(config.tls.certificate, "tls.certificate");
  resolver.resolve(config.tls.key, "tls.key");
  resolver.resolve(config.model_store.path, "model_store.path");
  constexpr std::string_view unix_socket = "unix:";
  if (config.listen.starts_with(unix_socket)) {
    std::string path = config.listen.substr(unix_socket.size());
    resolver.resolve(path, "listen");
    config.listen = fmt::format("{}{}", unix_socket, path);
  }
  for (DeploymentConfig& d : config.deployments) {
    const auto base = [&](std::string_view key) -> const fs::path& {
      return resolver.base(fmt::format("deployments.{}.{}", d.name, key));
    };
    resolve_model(d, base("model"));
    resolve_command(d, base("command"));
    resolve_options(d, base("options"));
    for (std::string& path : d.readable) path = joined(base("readable"), path);
  }
}

}  // namespace stoker::config

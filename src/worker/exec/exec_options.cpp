#include "worker/exec/exec_options.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <string_view>

#include "worker/options.h"

namespace stoker::worker {
namespace {

void read_env(OptionReader& options, ExecOptions& exec) {
  const std::optional<std::string> text = options.raw("env");
  if (!text) return;
  simdjson::dom::parser parser;
  simdjson::dom::object fields;
  if (parser.parse(*text).get(fields) != simdjson::SUCCESS) {
    options.problem("option `env` must be an object of texts");
    return;
  }
  for (const auto field : fields) {
    std::string_view value;
    if (field.value.get(value) != simdjson::SUCCESS || field.key.empty() ||
        field.key.find('=') != std::string_view::npos) {
      options.problem(fmt::format("option `env`: `{}` must be a name with a text", field.key));
      continue;
    }
    exec.env.emplace_back(field.key, value);
  }
}

}  // namespace

tl::expected<ExecOptions, std::string> read_exec_options(const std::string& json) {
  OptionReader options(json);
  ExecOptions exec;
  exec.command = options.texts("command");
  if (exec.command.empty()) options.problem("option `command` is missing or empty");
  read_env(options, exec);
  exec.health_path = options.text("health_path", "");
  if (!exec.health_path.empty() && !exec.health_path.starts_with('/')) {
    options.problem("option `health_path` must begin with /");
  }
  exec.start_timeout = options.duration("start_timeout", exec.start_timeout);
  exec.load_timeout = options.duration("load_timeout", exec.load_timeout);
  exec.sandboxed = options.boolean("sandboxed", false);
  const std::string endpoint = options.text("endpoint", "relay");
  if (endpoint != "relay" && endpoint != "direct") {
    options.problem(fmt::format("option `endpoint` must be direct or relay, not {}", endpoint));
  }
  exec.direct = endpoint == "direct";
  exec.health_interval = options.duration("health_interval", exec.health_interval);
  exec.health_failures =
      options.integer("health_failures", exec.health_failures, {.min = 1, .max = 1000});
  if (const auto problem = options.finish()) return tl::unexpected(*problem);
  return exec;
}

std::string fill_placeholders(std::string word, const std::string& model, int port) {
  const std::array<std::pair<std::string_view, std::string>, 3> values = {
      {{"{model}", model}, {"{port}", std::to_string(port)}, {"{host}", "127.0.0.1"}}};
  for (const auto& [placeholder, value] : values) {
    std::size_t at = word.find(placeholder);
    while (at != std::string::npos) {
      word.replace(at, placeholder.size(), value);
      at = word.find(placeholder, at + value.size());
    }
  }
  return word;
}

}  // namespace stoker::worker

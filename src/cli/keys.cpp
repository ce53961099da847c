// stoker keys create, list, revoke, limit: who may call the server, and how much.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json_writer.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/table.h"
#include "config/values.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

/// The limits of a key as options of a command, under their names in the API.
struct LimitOption {
  const char* flag;
  const char* name;
  const char* help;
  std::optional<std::int64_t> value;
};
using LimitOptions = std::vector<LimitOption>;

std::shared_ptr<LimitOptions> limit_options() {
  return std::make_shared<LimitOptions>(LimitOptions{
      {"--rpm", "requests_per_minute", "Requests a minute", {}},
      {"--input-tpm", "input_tokens_per_minute", "Input tokens a minute", {}},
      {"--output-tpm", "output_tokens_per_minute", "Output tokens a minute", {}},
      {"--concurrent", "concurrent_requests", "Requests at a time", {}},
      {"--gpu-seconds-per-day", "gpu_seconds_per_day", "Device seconds in 24 hours", {}},
  });
}

void add_to(CLI::App& command, LimitOptions& options) {
  for (LimitOption& each : options) {
    command.add_option(each.flag, each.value, each.help)->check(CLI::NonNegativeNumber);
  }
}

void write(JsonWriter& json, const LimitOptions& options) {
  json.object("limits", [&] {
    for (const LimitOption& each : options) {
      if (each.value) json.field(each.name, *each.value);
    }
  });
}

void write(JsonWriter& json, std::string_view name, const std::vector<std::string>& texts) {
  json.array(name, [&] {
    for (const std::string& each : texts) json.value(each);
  });
}

std::string joined(element object, std::string_view key) {
  std::string text;
  for_each_of(object, key, [&](element each) {
    std::string_view name;
    if (each.get(name) != simdjson::SUCCESS) return;
    if (!text.empty()) text += ',';
    text += name;
  });
  return text;
}

std::string limits_text(element key) {
  simdjson::dom::object limits;
  if (key["limits"].get(limits) != simdjson::SUCCESS) return "";
  std::string text;
  for (const auto& [name, value] : limits) {
    std::int64_t number = 0;
    if (value.get(number) != simdjson::SUCCESS) continue;
    if (!text.empty()) text += ' ';
    text += fmt::format("{}={}", name, number);
  }
  return text;
}

std::string state_of(element key) {
  if (!text_of(key, "revoked_at").empty()) return "revoked";
  return bool_of(key, "enabled") ? "good" : "disabled";
}

void print_keys(element root) {
  Table table("llllllll",
              {"ID", "NAME", "SECRET", "TENANT", "SCOPES", "DEPLOYMENTS", "STATE", "LIMITS"});
  for_each_of(root, "keys", [&](element key) {
    const std::string only = joined(key, "deployments");
    const std::string prefix = text_of(key, "prefix");
    table.add({text_of(key, "id"), text_of(key, "name"), prefix.empty() ? "" : prefix + "...",
               text_of(key, "tenant"), text_of(key, "scopes"), only.empty() ? "all" : only,
               state_of(key), limits_text(key)});
  });
  std::printf("%s", table.text().c_str());
}

void print_new_key(element key) {
  std::printf("%s\n", text_of(key, "key").c_str());
  std::fprintf(stderr,
               "%s of tenant %s, scopes %s. This is the only time the key is shown; the server "
               "keeps its hash.\n",
               text_of(key, "id").c_str(), text_of(key, "tenant").c_str(),
               text_of(key, "scopes").c_str());
}

void print_change(element key) {
  std::printf("%s: %s\n", text_of(key, "id").c_str(), state_of(key).c_str());
}

/// Calls the server and prints its answer, or what went wrong.
void call(const Program& program, std::string_view method, const std::string& target,
          const std::string& body, void (*print)(element)) {
  const auto fail = [&](const Error& error) {
    program.exit_code = complain(program.context, error,
                                 error.code == ErrorCode::invalid ? exit_usage : exit_failed);
  };
  Result<Client> client = Client::connect(program.context);
  if (!client) return fail(client.error());
  const Result<Answer> answer = client->call(method, target, body);
  if (!answer) return fail(answer.error());
  if (answer->status >= 400) return fail(error_of(*answer));
  if (program.context.json) {
    std::printf("%s\n", answer->body.c_str());
    return;
  }
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(answer->body).get(root) != simdjson::SUCCESS) {
    return fail({ErrorCode::corrupt, "the server's answer is no JSON", {}});
  }
  print(root);
}

void add_create(const Program& program, CLI::App& keys) {
  CLI::App* command = keys.add_subcommand("create", "Make a key and show it, once");
  struct Options {
    std::string tenant = "default";
    std::string name;
    std::vector<std::string> scopes = {"inference"};
    std::vector<std::string> deployments;
    std::string expires;
  };
  auto options = std::make_shared<Options>();
  auto limits = limit_options();
  command->add_option("--tenant", options->tenant, "Whose it is; made if it is new");
  command->add_option("--name", options->name, "What it is for, for you to read");
  command->add_option("--scopes", options->scopes, "inference, read, admin; by commas")
      ->delimiter(',');
  command->add_option("--deployments", options->deployments, "Only these; by commas")
      ->delimiter(',');
  command->add_option("--expires", options->expires, "After so long, e.g. 30d");
  add_to(*command, *limits);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker keys create --tenant acme --scopes inference,read --rpm 600");
  command->callback([program, options, limits] {
    std::optional<std::int64_t> expires_in_s;
    if (!options->expires.empty()) {
      const config::Parsed<Duration> after = config::parse_duration(options->expires);
      if (!after) {
        program.exit_code = complain(
            program.context,
            {ErrorCode::invalid, "--expires: " + after.error().message, after.error().hint},
            exit_usage);
        return;
      }
      expires_in_s = after->ns / 1'000'000'000;
    }
    JsonWriter json;
    json.object([&] {
      json.field("tenant", options->tenant);
      if (!options->name.empty()) json.field("name", options->name);
      write(json, "scopes", options->scopes);
      write(json, "deployments", options->deployments);
      if (expires_in_s) json.field("expires_in_s", *expires_in_s);
      write(json, *limits);
    });
    call(program, "POST", "/api/v1/keys", json.take(), print_new_key);
  });
}

void add_list(const Program& program, CLI::App& keys) {
  CLI::App* command = keys.add_subcommand("list", "Show all keys; never their secrets");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->callback([program] { call(program, "GET", "/api/v1/keys", {}, print_keys); });
}

void add_revoke(const Program& program, CLI::App& keys) {
  CLI::App* command = keys.add_subcommand("revoke", "Make a key useless, at once and for ever");
  struct Options {
    std::string id;
    bool hard = false;
  };
  auto options = std::make_shared<Options>();
  command->add_option("ID", options->id, "key-..., as `stoker keys list` shows it")->required();
  command->add_flag("--hard", options->hard, "End what runs for it too");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->callback([program, options] {
    call(program, "DELETE",
         "/api/v1/keys/" + percent_encode(options->id) + (options->hard ? "?hard=1" : ""), {},
         print_change);
  });
}

void add_limit(const Program& program, CLI::App& keys) {
  CLI::App* command =
      keys.add_subcommand("limit", "Set the limits of a key; those not given are lifted");
  auto id = std::make_shared<std::string>();
  auto limits = limit_options();
  command->add_option("ID", *id, "key-..., as `stoker keys list` shows it")->required();
  add_to(*command, *limits);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->callback([program, id, limits] {
    JsonWriter json;
    json.object([&] { write(json, *limits); });
    call(program, "PATCH", "/api/v1/keys/" + percent_encode(*id), json.take(), print_change);
  });
}

void print_secret(element root) {
  std::printf("%s\n", text_of(root, "secret").c_str());
}

void add_webhook_secret(const Program& program, CLI::App& keys) {
  CLI::App* command = keys.add_subcommand(
      "webhook-secret", "Show what calls to webhooks of a tenant's jobs are signed with");
  auto tenant = std::make_shared<std::string>("default");
  command->add_option("--tenant", *tenant, "Whose jobs");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->callback([program, tenant] {
    call(program, "GET", "/api/v1/webhooks/secret?tenant=" + percent_encode(*tenant), {},
         print_secret);
  });
}

}  // namespace

void add_keys(const Program& program) {
  CLI::App* keys = program.app.add_subcommand("keys", "Make, list, limit and revoke keys");
  keys->require_subcommand(1);
  keys->footer("Example:\n  stoker keys create --tenant acme --scopes inference,read --rpm 600");
  add_create(program, *keys);
  add_list(program, *keys);
  add_revoke(program, *keys);
  add_limit(program, *keys);
  add_webhook_secret(program, *keys);
}

}  // namespace stoker::cli

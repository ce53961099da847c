// stoker reload
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

/// "chat, embed" of a list of names; "" if it is empty.
std::string joined(element report, std::string_view key) {
  std::string text;
  for_each_of(report, key, [&](element each) {
    std::string_view name;
    if (each.get(name) != simdjson::SUCCESS) return;
    if (!text.empty()) text += ", ";
    text += name;
  });
  return text;
}

void print_changes(element report) {
  bool any = false;
  for (const char* what : {"added", "changed", "replaced", "removed"}) {
    const std::string names = joined(report, what);
    if (names.empty()) continue;
    any = true;
    std::printf("%s: %s\n", what, names.c_str());
  }
  if (!any) std::printf("no deployment differs\n");
  const std::string settings = joined(report, "settings");
  if (!settings.empty()) std::printf("new: %s\n", settings.c_str());
  const std::string later = joined(report, "needs_restart");
  if (!later.empty()) std::printf("only a restart changes: %s\n", later.c_str());
}

/// Gives how many of them are errors.
std::size_t print_problems(element report) {
  std::size_t errors = 0;
  for_each_of(report, "problems", [&](element each) {
    std::fprintf(stderr, "%s\n", text_of(each, "text").c_str());
    if (text_of(each, "severity") == "error") ++errors;
  });
  return errors;
}

int reload(Context& context) {
  // A file that is broken cannot say where its server is, but what is wrong with it.
  const Result<config::Loaded> loaded = load_config(context);
  if (loaded && !loaded->ok() && !context.url) {
    (void)report(loaded->problems);
    std::fprintf(stderr, "The server was not asked; it goes on as it is.\n");
    return exit_usage;
  }
  Result<Client> client = Client::connect(context);
  if (!client) return complain(context, client.error(), exit_usage);
  const Result<Answer> answer = client->call("POST", "/api/v1/reload");
  if (!answer) return complain(context, answer.error());
  constexpr int unprocessable = 422;
  simdjson::dom::parser parser;
  element root;
  const bool is_report = (answer->status == 200 || answer->status == unprocessable) &&
                         parser.parse(answer->body).get(root) == simdjson::SUCCESS;
  if (!is_report) return complain(context, error_of(*answer));
  const bool ok = bool_of(root, "ok");
  if (context.json) {
    std::printf("%s\n", answer->body.c_str());
    return ok ? exit_ok : exit_usage;
  }
  const std::size_t errors = print_problems(root);
  if (ok) {
    print_changes(root);
    return exit_ok;
  }
  std::fprintf(stderr, "%zu problem%s; everything stays as it was.\n", errors,
               errors == 1 ? "" : "s");
  return exit_usage;
}

}  // namespace

void add_reload(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "reload", "Let a running server read its configuration anew, as SIGHUP does");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer(
      "Deployments come, change and go, certificates are read anew; instances that are not "
      "concerned "
      "go on. Any problem leaves everything as it was.\n"
      "Examples:\n  stoker reload\n  stoker reload --config stoker.yaml --json");
  command->callback([program] { program.exit_code = reload(program.context); });
}

}  // namespace stoker::cli

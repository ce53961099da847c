// stoker requests, stoker usage: the ledger.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/table.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

std::string ms_text(element phases, std::string_view key) {
  simdjson::dom::element value;
  double number = 0;
  if (phases[key].get(value) != simdjson::SUCCESS || value.get(number) != simdjson::SUCCESS) {
    return "";
  }
  return fmt::format("{:.1f}", number);
}

void print_requests(element root) {
  Table table("llllrrrrrrr", {"REQUEST", "DEPLOYMENT", "OUTCOME", "START", "QUEUE MS", "COLD MS",
                              "TTFT MS", "TOTAL MS", "IN", "OUT", "AMOUNT"});
  for_each_of(root, "requests", [&](element r) {
    element phases;
    element usage;
    if (r["phases_ms"].get(phases) != simdjson::SUCCESS) return;
    if (r["usage"].get(usage) != simdjson::SUCCESS) return;
    double cold = 0;
    for (const char* phase : {"allocate", "start", "load", "warmup"}) {
      cold += number_of(phases, phase);
    }
    table.add({text_of(r, "request"), text_of(r, "deployment"), text_of(r, "outcome"),
               text_of(r, "start"), ms_text(phases, "queue"), fmt::format("{:.1f}", cold),
               ms_text(phases, "ttft"), ms_text(phases, "total"),
               std::to_string(integer_of(usage, "input_tokens")),
               std::to_string(integer_of(usage, "output_tokens")),
               text_of(r, "amount") + " " + text_of(r, "currency")});
  });
  table.line_up_decimals(10);
  std::printf("%s", table.text().c_str());
}

void print_usage(element root) {
  const std::string by = text_of(root, "by");
  Table table("lrrrrrr", {by == "tenant" ? "TENANT"
                          : by == "day"  ? "DAY"
                                         : "DEPLOYMENT",
                          "REQUESTS", "COMPLETED", "INPUT TOKENS", "OUTPUT TOKENS",
                          "DEVICE SECONDS", "AMOUNT"});
  for_each_of(root, "usage", [&](element line) {
    table.add({text_of(line, by), std::to_string(integer_of(line, "requests")),
               std::to_string(integer_of(line, "completed")),
               std::to_string(integer_of(line, "input_tokens")),
               std::to_string(integer_of(line, "output_tokens")),
               fmt::format("{:.3f}", static_cast<double>(integer_of(line, "device_ms")) / 1e3),
               text_of(line, "amount") + " " + text_of(root, "currency")});
  });
  table.line_up_decimals(6);
  std::printf("%s", table.text().c_str());
}

void show(const Program& program, const std::string& target, void (*print)(element)) {
  Result<Client> client = Client::connect(program.context);
  if (!client) {
    program.exit_code = complain(program.context, client.error(), exit_usage);
    return;
  }
  const Result<std::string> body = client->get(target);
  if (!body) {
    program.exit_code = complain(program.context, body.error());
    return;
  }
  if (program.context.json) {
    std::printf("%s\n", body->c_str());
    return;
  }
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(*body).get(root) == simdjson::SUCCESS) print(root);
}

}  // namespace

void add_requests(const Program& program) {
  CLI::App* command = program.app.add_subcommand("requests", "List ended requests, newest first");
  struct Options {
    std::string id;
    std::string deployment;
    std::string outcome;
    int limit = 20;
  };
  auto options = std::make_shared<Options>();
  command->add_option("ID", options->id, "One request: its whole receipt as JSON");
  command->add_option("--deployment", options->deployment, "Only of this one");
  command->add_option("--outcome", options->outcome,
                      "completed, failed, cancelled, expired, refused or interrupted");
  command->add_option("-n,--limit", options->limit, "Newest so many")->check(CLI::PositiveNumber);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker requests --deployment chat --outcome failed");
  command->callback([program, options] {
    if (!options->id.empty()) {
      program.context.json = true;
      show(program, "/api/v1/requests/" + percent_encode(options->id), print_requests);
      return;
    }
    std::string target = fmt::format("/api/v1/requests?limit={}", options->limit);
    if (!options->deployment.empty()) {
      target += "&deployment=" + percent_encode(options->deployment);
    }
    if (!options->outcome.empty()) target += "&outcome=" + percent_encode(options->outcome);
    show(program, target, print_requests);
  });
}

void add_usage(const Program& program) {
  CLI::App* command =
      program.app.add_subcommand("usage", "Sum up requests, tokens, device time and money");
  struct Options {
    std::string by = "deployment";
    std::string deployment;
  };
  auto options = std::make_shared<Options>();
  command->add_option("--by", options->by, "deployment, tenant or day")
      ->check(CLI::IsMember({"deployment", "tenant", "day"}));
  command->add_option("--deployment", options->deployment, "Only of this one");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker usage --by day");
  command->callback([program, options] {
    std::string target = "/api/v1/usage?by=" + options->by;
    if (!options->deployment.empty()) {
      target += "&deployment=" + percent_encode(options->deployment);
    }
    show(program, target, print_usage);
  });
}

}  // namespace stoker::cli

// stoker events, stoker decisions, stoker logs: what happened and why, once or as it happens.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "base/json_writer.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

void print_event(simdjson::dom::parser& parser, std::string_view json_text, bool json) {
  if (json) {
    std::printf("%.*s\n", static_cast<int>(json_text.size()), json_text.data());
    std::fflush(stdout);
    return;
  }
  element event;
  if (parser.parse(json_text.data(), json_text.size()).get(event) != simdjson::SUCCESS) return;
  std::printf("%s  %-22s %s\n", text_of(event, "at").c_str(), text_of(event, "event").c_str(),
              text_of(event, "text").c_str());
  std::fflush(stdout);
}

/// Calls `on_data` with the data of each event of an SSE stream that comes in pieces.
class SseLines {
 public:
  explicit SseLines(std::function<void(std::string_view)> on_data) : on_data_(std::move(on_data)) {}
  void feed(std::string_view bytes) {
    rest_ += bytes;
    std::size_t begin = 0;
    for (std::size_t end = rest_.find('\n'); end != std::string::npos;
         begin = end + 1, end = rest_.find('\n', begin)) {
      std::string_view line = std::string_view(rest_).substr(begin, end - begin);
      if (line.starts_with("data: ")) on_data_(line.substr(6));
    }
    rest_.erase(0, begin);
  }

 private:
  std::function<void(std::string_view)> on_data_;
  std::string rest_;
};

int follow(const Context& context, Client& client, const std::string& target,
           const std::function<void(std::string_view)>& on_bytes) {
  const Result<Answer> answer = client.stream("GET", target, {}, on_bytes);
  if (!answer) return complain(context, answer.error());
  return answer->status >= 400 ? complain(context, error_of(*answer)) : exit_ok;
}

}  // namespace

void add_events(const Program& program) {
  CLI::App* command = program.app.add_subcommand("events", "Show what happened, and why");
  struct Options {
    bool follow = false;
    std::string deployment;
    int limit = 50;
  };
  auto options = std::make_shared<Options>();
  command->add_flag("-f,--follow", options->follow, "Go on as things happen");
  command->add_option("--deployment", options->deployment, "Only of this one");
  command->add_option("-n,--limit", options->limit, "Newest so many")->check(CLI::PositiveNumber);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker events -f --deployment chat");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    const std::string query = fmt::format(
        "?limit={}{}", options->limit,
        options->deployment.empty() ? "" : "&deployment=" + percent_encode(options->deployment));
    auto parser = std::make_shared<simdjson::dom::parser>();
    if (options->follow) {
      SseLines lines(
          [&](std::string_view data) { print_event(*parser, data, program.context.json); });
      program.exit_code =
          follow(program.context, *client, "/api/v1/events" + query + "&follow=true",
                 [&](std::string_view bytes) { lines.feed(bytes); });
      return;
    }
    const Result<std::string> events = client->get("/api/v1/events" + query);
    if (!events) {
      program.exit_code = complain(program.context, events.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", events->c_str());
      return;
    }
    element root;
    if (parser->parse(*events).get(root) != simdjson::SUCCESS) return;
    simdjson::dom::parser line_parser;
    for_each_of(root, "events",
                [&](element event) { print_event(line_parser, simdjson::minify(event), false); });
  });
}

void add_decisions(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "decisions", "Show what the scheduler ordered, and with which reasons and figures");
  struct Options {
    std::string deployment;
    int limit = 50;
  };
  auto options = std::make_shared<Options>();
  command->add_option("--deployment", options->deployment, "Only of this one");
  command->add_option("-n,--limit", options->limit, "Newest so many")->check(CLI::PositiveNumber);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker decisions --deployment chat");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    const Result<std::string> decisions = client->get(fmt::format(
        "/api/v1/decisions?limit={}{}", options->limit,
        options->deployment.empty() ? "" : "&deployment=" + percent_encode(options->deployment)));
    if (!decisions) {
      program.exit_code = complain(program.context, decisions.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", decisions->c_str());
      return;
    }
    simdjson::dom::parser parser;
    element root;
    if (parser.parse(*decisions).get(root) != simdjson::SUCCESS) return;
    for_each_of(root, "decisions", [](element each) {
      std::printf("%s  %s\n", text_of(each, "at").c_str(), text_of(each, "text").c_str());
    });
  });
}

void add_logs(const Program& program) {
  CLI::App* command =
      program.app.add_subcommand("logs", "Show what the workers of a deployment wrote");
  struct Options {
    std::string name;
    bool follow = false;
    int lines = 100;
  };
  auto options = std::make_shared<Options>();
  command->add_option("NAME", options->name, "Deployment (chat) or instance (chat/3)")->required();
  command->add_flag("-f,--follow", options->follow, "Go on as they write");
  command->add_option("-n,--lines", options->lines, "Last so many")->check(CLI::PositiveNumber);
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker logs chat -f");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    const std::string target =
        fmt::format("/api/v1/logs/{}?lines={}", percent_encode(options->name), options->lines);
    if (options->follow) {
      program.exit_code =
          follow(program.context, *client, target + "&follow=true", [](std::string_view bytes) {
            std::fwrite(bytes.data(), 1, bytes.size(), stdout);
            std::fflush(stdout);
          });
      return;
    }
    const Result<std::string> text = client->get(target);
    if (!text) {
      program.exit_code = complain(program.context, text.error());
      return;
    }
    if (!program.context.json) {
      std::printf("%s", text->c_str());
      if (text->empty()) std::fprintf(stderr, "(%s wrote nothing)\n", options->name.c_str());
      return;
    }
    JsonWriter json;
    json.object([&] {
      json.field("name", options->name);
      json.field("text", *text);
    });
    std::printf("%s\n", json.text().c_str());
  });
}

}  // namespace stoker::cli

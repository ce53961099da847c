// stoker run: one prompt, the answer as it comes, and where the time went.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/json_writer.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/receipt_chart.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

/// While the first token is awaited: shows on stderr how the model comes up, from a second
/// connection. Silent if the server does not let us look.
class LoadProgress {
 public:
  LoadProgress(const Context& context, std::string deployment)
      : context_(context), deployment_(std::move(deployment)), thread_([this] { watch(); }) {}
  ~LoadProgress() { stop(); }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void watch() {
    Result<Client> client = Client::connect(context_);
    if (!client) return;
    std::string shown;
    std::unique_lock lock(mutex_);
    // Warm answers come sooner than this; nothing is shown for them.
    while (!wake_.wait_for(lock, std::chrono::milliseconds(200), [this] { return stopped_; })) {
      lock.unlock();
      const std::string now = state(*client);
      if (!now.empty() && now != shown) std::fprintf(stderr, "[%s]\n", now.c_str());
      shown = now;
      lock.lock();
    }
  }
  std::string state(Client& client) {
    const Result<std::string> ps =
        client.get("/api/v1/ps?deployment=" + percent_encode(deployment_));
    if (!ps) return {};
    simdjson::dom::parser parser;
    element root;
    if (parser.parse(*ps).get(root) != simdjson::SUCCESS) return {};
    std::string text;
    for_each_of(root, "instances", [&](element i) {
      text = fmt::format("{} {}", text_of(i, "instance"), text_of(i, "state"));
      const double fraction = number_of(i, "load_fraction");
      if (text_of(i, "state") == "loading" && fraction > 0) {
        text += fmt::format(" {:.0f}%", fraction * 100);
      }
      const std::string detail = text_of(i, "load_detail");
      if (!detail.empty()) text += ": " + detail;
    });
    return text;
  }

  Context context_;
  std::string deployment_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::thread thread_;
};

struct RunOptions {
  std::string name;
  std::string prompt;
  std::string system = "You are a helpful assistant.";
  int max_tokens = 256;
  double temperature = 0.7;
  bool no_stream = false;
};

std::string chat_body(const RunOptions& options) {
  JsonWriter json;
  json.object([&] {
    json.field("model", options.name);
    json.array("messages", [&] {
      if (!options.system.empty()) {
        json.object([&] {
          json.field("role", "system");
          json.field("content", options.system);
        });
      }
      json.object([&] {
        json.field("role", "user");
        json.field("content", options.prompt);
      });
    });
    json.field("max_tokens", options.max_tokens);
    json.field("temperature", options.temperature);
    json.field("stream", !options.no_stream);
  });
  return json.take();
}

/// Set while the cursor stands behind text, so that Ctrl-C can end the line first.
volatile std::sig_atomic_t inside_a_line = 0;

void end_line_and_die(int number) {
  if (inside_a_line != 0) {
    const ssize_t ignored = ::write(STDOUT_FILENO, "\n", 1);
    static_cast<void>(ignored);
  }
  ::signal(number, SIG_DFL);
  ::raise(number);
}

void print_text(std::string_view text) {
  if (text.empty()) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  inside_a_line = text.back() != '\n';
}

/// Whatever follows, an error above all, begins on a line of its own.
void end_line() {
  if (inside_a_line != 0) std::printf("\n");
  std::fflush(stdout);
  inside_a_line = 0;
}

/// Prints the text of a chat stream; keeps its receipt comment and its error.
class ChatPrinter {
 public:
  explicit ChatPrinter(std::function<void()> on_first) : on_first_(std::move(on_first)) {}
  void feed(std::string_view bytes) {
    rest_ += bytes;
    std::size_t begin = 0;
    for (std::size_t end = rest_.find('\n'); end != std::string::npos;
         begin = end + 1, end = rest_.find('\n', begin)) {
      line(std::string_view(rest_).substr(begin, end - begin));
    }
    rest_.erase(0, begin);
  }
  std::string receipt;  // JSON, empty if none came
  std::optional<SpokenError> error;
  bool any_event = false;

 private:
  void line(std::string_view text) {
    constexpr std::string_view receipt_mark = ": stoker {";
    if (text.starts_with(receipt_mark)) receipt = text.substr(receipt_mark.size() - 1);
    if (!text.starts_with("data: ")) return;
    any_event = true;
    if (!text.starts_with("data: {")) return;
    const std::string json(text.substr(6));
    element chunk;
    if (parser_.parse(json).get(chunk) != simdjson::SUCCESS) return;
    if (element ignored; chunk["error"].get(ignored) == simdjson::SUCCESS) {
      error = spoken_error(json);
    }
    std::string_view content;
    if (chunk["choices"].at(0)["delta"]["content"].get(content) != simdjson::SUCCESS) return;
    if (content.empty()) return;
    if (on_first_) on_first_();
    on_first_ = nullptr;
    print_text(content);
  }
  std::function<void()> on_first_;
  simdjson::dom::parser parser_;
  std::string rest_;
};

/// These say all there is: the worker's log only repeats them.
bool explains_itself(std::string_view message) {
  return message.find("(model_missing)") != message.npos ||
         message.find("(bad_option)") != message.npos;
}

/// The words of the failure, and what the worker last wrote.
int explain(const Context& context, Client& client, const Error& error, const std::string& name) {
  end_line();
  complain(context, error);
  if (error.code == ErrorCode::unavailable && !explains_itself(error.message)) {
    const Result<std::string> log =
        client.get(fmt::format("/api/v1/logs/{}?lines=10", percent_encode(name)));
    if (log && !log->empty()) {
      std::fprintf(stderr, "  last lines of its log (stoker logs %s):\n%s", name.c_str(),
                   log->c_str());
    }
  }
  return exit_failed;
}

/// An engine that does not stream answered in one piece. Gives: false if it holds no text.
bool print_whole_answer(const Answer& answer) {
  simdjson::dom::parser parser;
  element root;
  std::string_view text;
  if (parser.parse(answer.body).get(root) != simdjson::SUCCESS) return false;
  if (root["choices"].at(0)["message"]["content"].get(text) != simdjson::SUCCESS &&
      root["choices"].at(0)["text"].get(text) != simdjson::SUCCESS) {
    return false;
  }
  print_text(text);
  return true;
}

int run_streamed(const Context& context, Client& client, const RunOptions& options) {
  auto progress = std::make_unique<LoadProgress>(context, options.name);
  ChatPrinter printer([&] { progress->stop(); });
  ::signal(SIGINT, end_line_and_die);
  const Result<Answer> answer = client.stream("POST", "/v1/chat/completions", chat_body(options),
                                              [&](std::string_view bytes) { printer.feed(bytes); });
  progress.reset();
  if (!answer) {
    end_line();
    return complain(context, answer.error());
  }
  if (answer->status >= 400) {
    return explain(context, client, error_of_run(*answer, options.name), options.name);
  }
  if (!printer.any_event && !print_whole_answer(*answer)) {
    return explain(
        context, client,
        {ErrorCode::corrupt,
         fmt::format("the engine of '{}' did not answer as a chat model does ({})", options.name,
                     answer->content_type.empty() ? "no content type" : answer->content_type),
         "--json shows its answer as it is"},
        options.name);
  }
  end_line();
  if (printer.error) {
    std::string message = printer.error->message;
    if (message.empty()) message = "it gave no reason";
    if (!is_servers_own(printer.error->code)) {
      message = fmt::format("the engine of '{}' ended its answer with an error: {}", options.name,
                            message);
    }
    return explain(context, client, {ErrorCode::unavailable, message, {}}, options.name);
  }
  if (::isatty(STDERR_FILENO) != 0 && !printer.receipt.empty()) {
    std::fprintf(stderr, "%s", receipt_line(printer.receipt).c_str());
  }
  return exit_ok;
}

}  // namespace

void add_run(const Program& program) {
  CLI::App* command =
      program.app.add_subcommand("run", "Ask a chat model; it is loaded if it is cold");
  auto options = std::make_shared<RunOptions>();
  command->add_option("NAME", options->name, "Deployment or alias")->required();
  command->add_option("PROMPT", options->prompt, "What to ask")->required();
  command->add_option("--system", options->system, "System prompt; empty for none");
  command->add_option("--max-tokens", options->max_tokens, "Longest answer");
  command->add_option("--temperature", options->temperature, "0 is the likeliest answer");
  add_server_options(*command, program.context);
  command->add_flag("--json", program.context.json, "The whole answer as JSON, not streamed");
  command->footer("Example:\n  stoker run chat \"Tell me a story about an owl.\"");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    if (!program.context.json) {
      program.exit_code = run_streamed(program.context, *client, *options);
      return;
    }
    options->no_stream = true;
    const Result<Answer> answer = client->call("POST", "/v1/chat/completions", chat_body(*options));
    if (!answer) {
      program.exit_code = complain(program.context, answer.error());
      return;
    }
    std::printf("%s\n", answer->body.c_str());
    if (answer->status >= 400) program.exit_code = exit_failed;
  });
}

}  // namespace stoker::cli

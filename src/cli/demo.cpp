// stoker demo: a server of its own on a free port, a cold, a warm and a streamed request to a real
// chat model, an inference on a real ONNX model, scale to zero, and nothing left behind.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/json_writer.h"
#include "base/unique_fd.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/receipt_chart.h"

namespace stoker::cli {
namespace {

namespace fs = std::filesystem;
using simdjson::dom::element;

struct DemoOptions {
  std::string chat_model;
  std::string onnx_model;
};

constexpr std::string_view story = "Tell me a story about an owl.";
/// 512 samples of silence for the voice detector: 32 ms at 16 kHz.
constexpr int vad_samples = 512;
constexpr int vad_state = 128;

std::string demo_config(const DemoOptions& options, const fs::path& folder) {
  return fmt::format(R"(listen: 127.0.0.1:0
state_dir: {0}/state
auth: keys
devices: [{{id: cpu0, kind: cpu, memory: 1GiB}}]
log: {{format: logfmt}}
deployments:
  chat:
    model: {1}
    runtime: llama.cpp
    options: {{context: 512, threads: 1}}
    autoscaling: {{max_instances: 1, scale_to_zero_delay: 2s}}
    pricing: {{per_request: $0.0001, per_gpu_second: $0.0001, per_1k_output_tokens: $0.002}}
  voice:
    model: {2}
    runtime: onnx
    autoscaling: {{max_instances: 1, scale_to_zero_delay: 2s}}
)",
                     folder.string(), options.chat_model, options.onnx_model);
}

/// The server of the demo: a child process, ended and waited for with this.
class DemoServer {
 public:
  static Result<std::unique_ptr<DemoServer>> start(const config::ServerConfig& config,
                                                   const ServeFunction& serve,
                                                   const fs::path& log) {
    int ends[2] = {};
    if (::pipe(ends) != 0) return tl::unexpected(errno_error("pipe"));
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return tl::unexpected(errno_error("fork"));
    if (pid == 0) {
      read_end.reset();
      if (std::freopen(log.c_str(), "w", stderr) == nullptr) ::_exit(exit_failed);
      ::setpgid(0, 0);  // Ctrl-C goes to the demo, which ends the server in order
      const int code = serve(config, {[&](const std::string& address) {
                               const ssize_t written =
                                   ::write(write_end.get(), address.data(), address.size());
                               (void)written;
                               write_end.reset();
                             }});
      ::_exit(code);
    }
    write_end.reset();
    std::string address;
    char buffer[256];
    for (ssize_t n = 0; (n = ::read(read_end.get(), buffer, sizeof buffer)) > 0;) {
      address.append(buffer, static_cast<std::size_t>(n));
    }
    auto server = std::unique_ptr<DemoServer>(new DemoServer(pid, address));
    if (address.empty()) {
      return failure(ErrorCode::unavailable, "the demo's server did not start",
                     "its log: " + log.string());
    }
    return server;
  }
  ~DemoServer() { stop(); }

  /// Drains and waits. Gives: true if it ended with 0.
  bool stop() {
    if (pid_ <= 0) return true;
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  DemoServer(pid_t pid, std::string address) : pid_(pid), address_(std::move(address)) {}
  pid_t pid_;
  std::string address_;
};

std::string chat_body(bool stream) {
  JsonWriter json;
  json.object([&] {
    json.field("model", "chat");
    json.array("messages", [&] {
      json.object([&] {
        json.field("role", "system");
        json.field("content", "You are a helpful assistant.");
      });
      json.object([&] {
        json.field("role", "user");
        json.field("content", story);
      });
    });
    json.field("temperature", 0.7);
    json.field("seed", 7);
    json.field("max_tokens", 120);
    json.field("stream", stream);
  });
  return json.take();
}

std::string vad_body() {
  JsonWriter json;
  json.object([&] {
    json.array("inputs", [&] {
      const auto tensor = [&](const char* name, const char* type, std::initializer_list<int> shape,
                              int count, int value) {
        json.object([&] {
          json.field("name", name);
          json.field("datatype", type);
          json.array("shape", [&] {
            for (const int each : shape) json.value(each);
          });
          json.array("data", [&] {
            for (int i = 0; i < count; ++i) json.value(value);
          });
        });
      };
      tensor("input", "FP32", {1, vad_samples}, vad_samples, 0);
      tensor("state", "FP32", {2, 1, vad_state}, 2 * vad_state, 0);
      tensor("sr", "INT64", {}, 1, 16000);
    });
  });
  return json.take();
}

class Demo {
 public:
  Demo(Client& client, const DemoServer& server) : client_(client), server_(server) {}

  Result<void> run() {
    std::printf("\nStoker listens on http://%s. Nothing is loaded yet.\n",
                server_.address().c_str());
    if (Result<void> r = ask("cold", "A cold request: the model is not loaded"); !r) return r;
    if (Result<void> r = ask("warm", "A warm request: the same model again"); !r) return r;
    if (Result<void> r = stream(); !r) return r;
    if (Result<void> r = detect_voice(); !r) return r;
    std::printf("\nWhere the time went (POST /v1/chat/completions):\n\n%s",
                receipt_chart(receipts_).c_str());
    for (const Receipt& receipt : receipts_) {
      double sum = 0;
      for (const Phase& phase : receipt.phases) sum += phase.ms;
      if (sum < receipt.total_ms * 0.98 || sum > receipt.total_ms * 1.02) {
        return failure(ErrorCode::corrupt, fmt::format("the phases of the {} receipt add up to "
                                                       "{:.3f} ms, its total is {:.3f} ms",
                                                       receipt.title, sum, receipt.total_ms));
      }
    }
    return scale_to_zero();
  }

 private:
  Result<void> ask(const char* title, const char* heading) {
    std::printf("\n--- %s\n> %.*s\n", heading, static_cast<int>(story.size()), story.data());
    const Result<Answer> answer = client_.call("POST", "/v1/chat/completions", chat_body(false));
    if (!answer) return tl::unexpected(answer.error());
    if (answer->status >= 400) return tl::unexpected(error_of(*answer));
    simdjson::dom::parser parser;
    element root;
    std::string_view text;
    if (parser.parse(answer->body).get(root) != simdjson::SUCCESS ||
        root["choices"].at(0)["message"]["content"].get(text) != simdjson::SUCCESS) {
      return failure(ErrorCode::corrupt, "the answer is not a chat completion");
    }
    std::printf("%.*s\n", static_cast<int>(text.size()), text.data());
    return keep_receipt(answer->request_id, title);
  }

  Result<void> stream() {
    std::printf("\n--- A streamed request: tokens as they come\n> %.*s\n",
                static_cast<int>(story.size()), story.data());
    std::string rest;
    simdjson::dom::parser parser;
    const Result<Answer> answer = client_.stream(
        "POST", "/v1/chat/completions", chat_body(true), [&](std::string_view bytes) {
          rest += bytes;
          std::size_t begin = 0;
          for (std::size_t end = rest.find('\n'); end != std::string::npos;
               begin = end + 1, end = rest.find('\n', begin)) {
            print_delta(parser, std::string_view(rest).substr(begin, end - begin));
          }
          rest.erase(0, begin);
        });
    if (!answer) return tl::unexpected(answer.error());
    if (answer->status >= 400) return tl::unexpected(error_of(*answer));
    std::printf("\n");
    return keep_receipt(answer->request_id, "streamed");
  }

  static void print_delta(simdjson::dom::parser& parser, std::string_view line) {
    if (!line.starts_with("data: {")) return;
    element chunk;
    std::string_view text;
    if (parser.parse(std::string(line.substr(6))).get(chunk) != simdjson::SUCCESS) return;
    if (chunk["choices"].at(0)["delta"]["content"].get(text) != simdjson::SUCCESS) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  Result<void> detect_voice() {
    std::printf(
        "\n--- An ONNX model behind the same server: is there a voice in 32 ms of silence?\n");
    for (const char* title : {"cold", "warm"}) {
      const Result<Answer> answer = client_.call("POST", "/v2/models/voice/infer", vad_body());
      if (!answer) return tl::unexpected(answer.error());
      if (answer->status >= 400) return tl::unexpected(error_of(*answer));
      simdjson::dom::parser parser;
      element root;
      double probability = -1;
      if (parser.parse(answer->body).get(root) == simdjson::SUCCESS) {
        for_each_of(root, "outputs", [&](element output) {
          if (text_of(output, "name") != "output") return;
          if (output["data"].at(0).get(probability) != simdjson::SUCCESS) probability = -1;
        });
      }
      if (probability < 0 || probability > 1) {
        return failure(ErrorCode::corrupt, "the voice model gave no probability");
      }
      std::printf("%s: probability %.4f (%s)\n", title, probability, answer->server_timing.c_str());
    }
    return {};
  }

  Result<void> keep_receipt(const std::string& request, const char* title) {
    const Result<std::string> json = client_.get("/api/v1/requests/" + request);
    if (!json) return tl::unexpected(json.error());
    std::optional<Receipt> receipt = parse_receipt(*json, title);
    if (!receipt) return failure(ErrorCode::corrupt, "the receipt of " + request + " is not one");
    receipts_.push_back(std::move(*receipt));
    return {};
  }

  Result<void> scale_to_zero() {
    std::printf("\n--- Scale to zero: both models stop after 2 s without a request\n");
    simdjson::dom::parser parser;
    const auto begin = std::chrono::steady_clock::now();
    const auto give_up = begin + std::chrono::seconds(20);
    std::size_t before = 99;
    while (std::chrono::steady_clock::now() < give_up) {
      const Result<std::string> ps = client_.get("/api/v1/ps");
      if (!ps) return tl::unexpected(ps.error());
      element root;
      if (parser.parse(*ps).get(root) != simdjson::SUCCESS) break;
      std::size_t instances = 0;
      for_each_of(root, "instances", [&](element) { ++instances; });
      std::int64_t reserved = 0;
      for_each_of(root, "devices", [&](element d) { reserved += integer_of(d, "reserved_bytes"); });
      if (instances != before) {
        const double s =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        std::printf("%4.1f s  %zu instance%s, %.1f MiB reserved\n", s, instances,
                    instances == 1 ? "" : "s", static_cast<double>(reserved) / (1 << 20));
        std::fflush(stdout);
        before = instances;
      }
      if (instances == 0) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return failure(ErrorCode::unavailable, "the instances did not stop in 20 s");
  }

  Client& client_;
  const DemoServer& server_;
  std::vector<Receipt> receipts_;
};

/// The first of these that exists, else the first, so that errors name a place.
std::string first_existing(const std::vector<fs::path>& candidates) {
  std::error_code ignored;
  for (const fs::path& path : candidates) {
    if (fs::exists(path, ignored)) return fs::absolute(path).string();
  }
  return candidates.front().string();
}

int run_demo(const DemoOptions& options, const ServeFunction& serve) {
  std::error_code error;
  for (const std::string& model : {options.chat_model, options.onnx_model}) {
    if (!fs::exists(model, error)) {
      return complain(
          {}, {ErrorCode::not_found,
               "the demo runs two small models that come with Stoker's repository, and " + model +
                   " is not there",
               "run `./dev demo` in a clone of it, or name models of your own with "
               "--chat-model and --onnx-model"});
    }
  }
  std::string folder_name = (fs::temp_directory_path() / "stoker-demo-XXXXXX").string();
  if (::mkdtemp(folder_name.data()) == nullptr) return complain({}, errno_error("mkdtemp"));
  const fs::path folder = folder_name;
  const std::string text = demo_config(options, folder);
  const config::Loaded loaded = config::parse(text, "demo", config::process_environment());
  int code = report(loaded.problems);
  if (code == exit_ok) {
    const fs::path log = folder / "server.log";
    Result<std::unique_ptr<DemoServer>> server = DemoServer::start(loaded.config, serve, log);
    Result<void> done = server ? Result<void>{} : tl::unexpected(server.error());
    if (server) {
      Context context;
      context.url = "http://" + (*server)->address();
      context.config_file = (folder / "stoker.yaml").string();
      std::ofstream(*context.config_file) << text;
      Result<Client> client = Client::connect(context);
      done = client ? Demo(*client, **server).run() : tl::unexpected(client.error());
      if (!(*server)->stop() && done) {
        done = failure(ErrorCode::unavailable, "the demo's server did not end cleanly");
      }
    }
    if (!done) {
      complain({}, done.error());
      std::ifstream server_log(log);
      std::fprintf(stderr, "the server's log:\n");
      for (std::string line; std::getline(server_log, line);) {
        std::fprintf(stderr, "  %s\n", line.c_str());
      }
      code = exit_failed;
    }
  }
  fs::remove_all(folder, error);
  return code;
}

}  // namespace

void add_demo(const Program& program, const ServeFunction& serve) {
  CLI::App* command = program.app.add_subcommand(
      "demo", "Show a cold, a warm and a streamed request on real models, then clean up");
  auto options = std::make_shared<DemoOptions>();
  command->add_option("--chat-model", options->chat_model, "A GGUF chat model");
  command->add_option("--onnx-model", options->onnx_model, "The Silero voice detector, ONNX");
  command->footer("Example:\n  stoker demo");
  command->callback([program, options, serve] {
    const char* models = std::getenv("STOKER_DEMO_MODELS");
    const fs::path folder = models == nullptr ? "models" : models;
    // The demo's server has a folder of its own; what is named here is relative to this one.
    for (std::string* model : {&options->chat_model, &options->onnx_model}) {
      if (!model->empty()) *model = fs::absolute(*model).string();
    }
    if (options->chat_model.empty()) {
      options->chat_model = first_existing({folder / "tiny-demo-q8_0.gguf"});
    }
    if (options->onnx_model.empty()) {
      options->onnx_model = first_existing({folder / "silero_vad_v6.onnx"});
    }
    program.exit_code = run_demo(*options, serve);
    if (program.exit_code != exit_ok) return;
    std::printf(
        "\nThe same by hand:\n"
        "  build/release/bin/stoker serve --config configs/demo.yaml\n"
        "  build/release/bin/stoker --help            (ps, run, events -f, requests, usage, ...)\n"
        "  build/release/bin/stoker run chat \"%.*s\" --config configs/demo.yaml\n",
        static_cast<int>(story.size()), story.data());
  });
}

}  // namespace stoker::cli

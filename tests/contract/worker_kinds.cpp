#include "worker_kinds.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace stoker::test {
namespace {

constexpr int endless_tokens = 6000;  // of 10 ms

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string program(std::string_view worker) {
  const std::string folder = environment("STOKER_TEST_BIN");
  return fmt::format("{}/stoker-worker-{}", folder.empty() ? STOKER_TEST_BIN : folder, worker);
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return !path.empty() && std::filesystem::exists(path, ignored);
}

bool in_path(std::string_view name) {
  std::string path = environment("PATH");
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    if (exists(fmt::format("{}/{}", path.substr(at, end - at), name))) return true;
    at = end + 1;
  }
  return false;
}

std::string load_model(const std::string& model, const std::string& options) {
  return fmt::format(
      R"({{"type":"load","deployment":"test","model":"{}","options":{},"concurrency":4,)"
      R"("device":{{"kind":"cpu","id":"cpu0"}},"warmup":true}})",
      model, options);
}

WorkerKind echo() {
  WorkerKind kind;
  kind.name = kind.worker = "echo";
  kind.can_suspend = true;
  kind.program = program("echo");
  kind.load = load_packet(R"({"token_delay":"10ms","load_time":"100ms","memory":"1MiB"})");
  kind.unary = chat(3, false);
  kind.stream = chat(3, true);
  kind.endless = chat(endless_tokens, true);
  kind.failing_loads = {
      {load_packet(R"({"token_dely":1})"), "bad_option"},
      {load_packet(R"({"token_delay":"soon"})"), "bad_option"},
      {load_packet(R"({"memory":"4000TiB"})"), "out_of_memory"},
      {load_packet(R"({"faults":{"load_failed":"model_broken"}})"), "model_broken"}};
  return kind;
}

WorkerKind exec(const std::string& name, const std::string& command) {
  WorkerKind kind;
  kind.name = name;
  kind.worker = "exec";
  kind.program = program("exec");
  kind.load = load_packet(fmt::format(R"({{"command":{}}})", command));
  kind.own_http = false;
  kind.unary = chat(3, false);
  kind.stream = chat(3, true);
  kind.endless = chat(endless_tokens, true);
  kind.failing_loads = {
      {load_packet("{}"), "bad_option"},
      {load_packet(R"({"command":["no-such-program-anywhere"]})"), "start_failed"},
      {load_packet(R"({"command":["false"]})"), "start_failed"},
      {load_model("/no/such/model", R"({"command":["sleep","60"]})"), "model_missing"}};
  return kind;
}

WorkerKind llama(const std::string& model) {
  WorkerKind kind;
  kind.name = kind.worker = "llama";
  kind.program = program("llama");
  // Shifting lets a stream run on beyond the small model's context.
  kind.load = load_model(model, R"({"extra_args":["--context-shift"]})");
  const auto question = [](int tokens, bool stream) {
    return Question{"/v1/chat/completions",
                    fmt::format(R"({{"messages":[{{"role":"user","content":"Tell me a story."}}],)"
                                R"("max_tokens":{},"stream":{},"ignore_eos":true}})",
                                tokens, stream)};
  };
  kind.unary = question(3, false);
  kind.stream = question(3, true);
  kind.endless = question(1'000'000, true);
  kind.failing_loads = {{load_model("/no/such/model.gguf", "{}"), "model_missing"},
                        {load_model(kind.program, "{}"), "model_broken"},
                        {load_model(model, R"({"contxt":1})"), "bad_option"},
                        {load_model(model, R"({"chat_template":"{{ cut off"})"), "bad_option"},
                        {load_model(model, R"({"multimodal":"/no/such"})"), "model_missing"}};
  return kind;
}

WorkerKind onnx(const std::string& model, const std::string& request) {
  WorkerKind kind;
  kind.name = kind.worker = "onnx";
  kind.program = program("onnx");
  kind.load = load_model(model, "{}");
  kind.unary = {"/v2/models/test/infer", request};
  kind.failing_loads = {{load_model("/no/such/model.onnx", "{}"), "model_missing"},
                        {load_model(kind.program, "{}"), "model_broken"}};
  return kind;
}

}  // namespace

std::string echo_program() {
  return program("echo");
}
std::string exec_program() {
  return program("exec");
}

std::string llama_program() {
  return program("llama");
}

std::string load_packet(const std::string& options) {
  return fmt::format(R"({{"type":"load","deployment":"test","options":{},"concurrency":4}})",
                     options);
}

Question chat(int words, bool stream) {
  std::string content;
  for (int i = 0; i < words; ++i) content += fmt::format("w{} ", i);
  return {"/v1/chat/completions",
          fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"{}"}}],)"
                      R"("max_tokens":{},"stream":{}}})",
                      content, words, stream)};
}

std::vector<WorkerKind> worker_kinds() {
  std::vector<WorkerKind> kinds = {echo()};
  if (in_path("python3")) {
    kinds.push_back(
        exec("exec_python", R"(["python3",")" STOKER_TEST_SERVERS R"(/openai_server.py"])"));
  }
  if (in_path("node")) {
    kinds.push_back(
        exec("exec_node", R"(["node",")" STOKER_TEST_SERVERS R"(/openai_server.mjs","{port}"])"));
  }
  std::string gguf = environment("STOKER_TEST_MODEL");
  if (gguf.empty()) gguf = STOKER_TEST_MODEL_FILE;
  if (exists(gguf) && exists(program("llama"))) kinds.push_back(llama(gguf));
  const std::string model = environment("STOKER_TEST_ONNX_MODEL");
  const std::string request = environment("STOKER_TEST_ONNX_REQUEST");  // one that fits the model
  if (exists(model) && !request.empty() && exists(program("onnx"))) {
    kinds.push_back(onnx(model, request));
  }
  return kinds;
}

}  // namespace stoker::test

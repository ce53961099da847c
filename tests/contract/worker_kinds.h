// The workers that the contract suite runs on: one row each. A new worker adds its row in
// worker_kinds.cpp.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace stoker::test {

struct Question {
  std::string path;
  std::string body;
};

struct WorkerKind {
  std::string name;    // of the row: letters and digits
  std::string worker;  // what hello says
  std::string program;
  std::string load;  // a `load` packet that works
  /// Our own HTTP: request ids, usage, /stats, /health. False for a relay.
  bool own_http = true;
  bool can_suspend = false;
  Question unary;
  Question stream;   // a few tokens, then `data: [DONE]`; no path: it cannot stream
  Question endless;  // a stream that runs for a minute unless it is stopped
  std::vector<std::pair<std::string, std::string>> failing_loads;  // packet -> code
};
inline std::ostream& operator<<(std::ostream& out, const WorkerKind& kind) {
  return out << kind.name;
}

/// Those whose programs (and test models) are there: STOKER_TEST_MODEL names another GGUF file for
/// llama, STOKER_TEST_ONNX_MODEL and STOKER_TEST_ONNX_REQUEST a model and an infer body for onnx.
[[nodiscard]] std::vector<WorkerKind> worker_kinds();

/// Packets and rows that tests of one kind want to vary.
[[nodiscard]] std::string echo_program();
[[nodiscard]] std::string exec_program();
[[nodiscard]] std::string llama_program();
/// A `load` packet with these options (JSON object) and no model.
[[nodiscard]] std::string load_packet(const std::string& options);
/// A chat request with `words` words that asks for as many tokens.
[[nodiscard]] Question chat(int words, bool stream);

}  // namespace stoker::test

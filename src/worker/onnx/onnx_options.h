// The `options` of a deployment with `runtime: onnx`.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

namespace stoker::worker::onnx {

enum class GraphOptimization : std::uint8_t { off, basic, extended, all };

struct OnnxOptions {
  /// Threads of one operator, of all requests of the instance together.
  int threads = 1;
  /// More than 1: independent operators of one request run at once on so many threads.
  int inter_threads = 1;
  /// How far the graph is rewritten at load. Less loads faster; `off` suits a model that was saved
  /// after optimization.
  GraphOptimization graph_optimization = GraphOptimization::all;
};

/// `json`: text of the options object.  Errors: all problems as one line, unknown keys included.
[[nodiscard]] tl::expected<OnnxOptions, std::string> parse_options(const std::string& json);

}  // namespace stoker::worker::onnx

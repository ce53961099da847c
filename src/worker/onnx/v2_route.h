// Paths of the Open Inference Protocol -> what they ask for.
// A worker holds one model, so the model's name in a path is not compared: whoever sent the request
// here has resolved names, aliases and tags already, and forwards the path as the client wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stoker::worker::onnx {

enum class V2Route : std::uint8_t {
  server_metadata,  // GET /v2
  server_live,      // GET /v2/health/live
  server_ready,     // GET /v2/health/ready
  model_metadata,   // GET /v2/models/NAME[/versions/VERSION]
  model_ready,      // GET .../ready
  infer,            // POST .../infer
  unknown,
};

struct V2Target {
  V2Route route = V2Route::unknown;
  std::string_view version;  // of the model, as written; empty: any
};

/// `path`: without query. One slash at its end is ignored.
[[nodiscard]] V2Target parse_v2_path(std::string_view path);
/// "GET" or "POST".  Needs: not unknown.
[[nodiscard]] std::string_view method_of(V2Route route);

}  // namespace stoker::worker::onnx

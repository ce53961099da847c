#include "worker/onnx/v2_route.h"

namespace stoker::worker::onnx {
namespace {

/// Takes "/WORD" off the front of `path`.  Gives: WORD, empty if there is none.
std::string_view next_segment(std::string_view& path) {
  if (!path.starts_with('/')) return {};
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

V2Route model_route(std::string_view verb) {
  if (verb.empty()) return V2Route::model_metadata;
  if (verb == "/ready") return V2Route::model_ready;
  if (verb == "/infer") return V2Route::infer;
  return V2Route::unknown;
}

}  // namespace

V2Target parse_v2_path(std::string_view path) {
  if (path.ends_with('/')) path.remove_suffix(1);
  if (next_segment(path) != "v2") return {};
  if (path.empty()) return {V2Route::server_metadata, {}};
  if (path == "/health/live") return {V2Route::server_live, {}};
  if (path == "/health/ready") return {V2Route::server_ready, {}};
  if (next_segment(path) != "models" || next_segment(path).empty()) return {};
  std::string_view version;
  if (path == "/versions" || path.starts_with("/versions/")) {
    next_segment(path);
    version = next_segment(path);
    if (version.empty()) return {};
  }
  return {model_route(path), version};
}

std::string_view method_of(V2Route route) {
  return route == V2Route::infer ? "POST" : "GET";
}

}  // namespace stoker::worker::onnx

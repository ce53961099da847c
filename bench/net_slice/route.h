// What both slices do with a request besides moving it: find the `model` field of its JSON body and
// look up the upstream that serves it.
#pragma once

#include <simdjson.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace stoker::net_slice {

inline constexpr int models = 8;  // "model-0" ... "model-7", all served by the one upstream

class Router {
 public:
  Router() {
    for (int i = 0; i < models; ++i) routes_.emplace("model-" + std::to_string(i), i);
  }
  /// Number of the route; nullopt if the body is not JSON or names no known model.
  std::optional<int> route(std::string_view body) {
    if (padded_.size() < body.size() + simdjson::SIMDJSON_PADDING) {
      padded_.resize(body.size() + simdjson::SIMDJSON_PADDING);
    }
    std::memcpy(padded_.data(), body.data(), body.size());
    simdjson::ondemand::document document;
    if (parser_.iterate(padded_.data(), body.size(), padded_.size()).get(document) !=
        simdjson::SUCCESS) {
      return std::nullopt;
    }
    std::string_view model;
    if (document["model"].get_string().get(model) != simdjson::SUCCESS) return std::nullopt;
    const auto found = routes_.find(model);
    if (found == routes_.end()) return std::nullopt;
    return found->second;
  }

 private:
  std::map<std::string, int, std::less<>> routes_;
  simdjson::ondemand::parser parser_;
  std::string padded_;  // simdjson reads a little beyond the end
};

}  // namespace stoker::net_slice

#include "worker/onnx/onnx_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "worker/options.h"

namespace stoker::worker::onnx {
namespace {

// In the order of GraphOptimization.
constexpr std::array<std::string_view, 4> levels{"off", "basic", "extended", "all"};

}  // namespace

tl::expected<OnnxOptions, std::string> parse_options(const std::string& json) {
  const IntegerRange thread_range{.min = 1, .max = 1024};
  OptionReader reader(json);
  OnnxOptions options;
  options.threads = static_cast<int>(reader.integer("threads", options.threads, thread_range));
  options.inter_threads =
      static_cast<int>(reader.integer("inter_threads", options.inter_threads, thread_range));
  const std::string level = reader.text("graph_optimization", "all");
  const auto* found = std::ranges::find(levels, level);
  if (found != levels.end()) {
    options.graph_optimization = static_cast<GraphOptimization>(found - levels.begin());
  } else {
    const auto near = closest(level, levels);
    reader.problem(fmt::format("graph_optimization is '{}', must be off, basic, extended or all{}",
                               level, near ? fmt::format("; did you mean '{}'?", *near) : ""));
  }
  if (auto problem = reader.finish()) return tl::unexpected(std::move(*problem));
  return options;
}

}  // namespace stoker::worker::onnx

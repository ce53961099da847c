#include "worker/llama/log_filter.h"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <vector>

#include "llama.h"
#include "log.h"

namespace stoker::worker {

namespace {

constexpr std::size_t kErrorsKept = 4;
constexpr int kNothing = -1;  // below LOG_LEVEL_OUTPUT

std::atomic<bool> serving{false};
std::mutex errors_mutex;
std::vector<std::string> errors;

bool from_compute_back_end(std::string_view line) {
  return line.starts_with("ggml_") || line.starts_with("CUDA");
}

// "llama_model_load: error loading model: x\n" -> "error loading model: x"
std::string_view without_function(std::string_view line) {
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const std::size_t colon = line.find(": ");
  const bool is_function =
      colon != std::string_view::npos && line.substr(0, colon).find(' ') == std::string_view::npos;
  return is_function ? line.substr(colon + 2) : line;
}

void on_line(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR) return;
  const std::string_view line = text;
  if (serving.load(std::memory_order_relaxed)) {
    if (!from_compute_back_end(line)) return;
  } else if (level == GGML_LOG_LEVEL_ERROR) {
    const std::lock_guard lock(errors_mutex);
    if (errors.size() < kErrorsKept) errors.emplace_back(without_function(line));
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void log_while_loading() {
  serving = false;
  {
    const std::lock_guard lock(errors_mutex);
    errors.clear();
  }
  llama_log_set(on_line, nullptr);
  common_log_set_verbosity_thold(LOG_LEVEL_WARN);
}

void log_while_serving() {
  serving = true;
  common_log_set_verbosity_thold(kNothing);
}

std::string load_errors() {
  const std::lock_guard lock(errors_mutex);
  std::string joined;
  for (const std::string& error : errors) {
    if (!joined.empty()) joined += "; ";
    joined += error;
  }
  return joined;
}

}  // namespace stoker::worker

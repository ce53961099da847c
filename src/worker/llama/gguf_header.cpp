#include "worker/llama/gguf_header.h"

#include <fmt/format.h>
#include <gguf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "worker/llama/log_filter.h"

namespace stoker::worker {

namespace {

struct GgufDelete {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};

// The number at "<architecture>.<name>"; 0 where there is none.
std::int64_t number_of_architecture(const gguf_context* gguf, const char* name) {
  const auto architecture = gguf_find_key(gguf, "general.architecture");
  if (architecture < 0 || gguf_get_kv_type(gguf, architecture) != GGUF_TYPE_STRING) return 0;
  const std::string key = fmt::format("{}.{}", gguf_get_val_str(gguf, architecture), name);
  const auto found = gguf_find_key(gguf, key.c_str());
  if (found < 0 || gguf_get_kv_type(gguf, found) != GGUF_TYPE_UINT32) return 0;
  return gguf_get_val_u32(gguf, found);
}

}  // namespace

tl::expected<GgufHeader, LoadError> read_gguf_header(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || ::access(path.c_str(), R_OK) != 0) {
    return load_failure(LoadFailure::model_missing,
                        fmt::format("{}: {}", path, std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    return load_failure(LoadFailure::model_missing, fmt::format("{}: not a file", path));
  }
  const gguf_init_params params{.no_alloc = true, .ctx = nullptr};
  const std::unique_ptr<gguf_context, GgufDelete> gguf(gguf_init_from_file(path.c_str(), params));
  if (!gguf) {
    return load_failure(
        LoadFailure::model_broken,
        fmt::format("{}: not a GGUF file that llama.cpp can read: {}", path, load_errors()));
  }
  return GgufHeader{.trained_context = number_of_architecture(gguf.get(), "context_length"),
                    .names_pooling = number_of_architecture(gguf.get(), "pooling_type") > 0,
                    .file_bytes = info.st_size};
}

}  // namespace stoker::worker

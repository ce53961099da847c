// The header of a GGUF file, read by ggml's own reader, for what must be known before a load.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#include "worker/runtime.h"

namespace stoker::worker {

struct GgufHeader {
  std::int64_t trained_context = 0;  // tokens; 0: the file does not say
  bool names_pooling = false;        // the model says itself how its embeddings are pooled
  std::int64_t file_bytes = 0;
};

/// Errors: model_missing (no such file, not readable, a folder), model_broken (not GGUF, or its
/// header is cut off). The data behind the header is checked by the load itself.
/// Cost: reads the header, vocabulary included; 1 to 30 ms.
[[nodiscard]] tl::expected<GgufHeader, LoadError> read_gguf_header(const std::string& path);

}  // namespace stoker::worker

// The `options:` of a llama.cpp deployment, checked, as arguments of llama.cpp's own parser, so
// that its defaults and post-processing apply. What a deployment's owner may set:
//
//   context            tokens of one request, prompt and output together; default: what the model
//   was
//                      trained with, at most 4096. Each of `concurrency` slots has as many for
//                      itself
//   threads            compute threads of the instance (default 1)
//   batch, ubatch      most tokens of one decode step (default 512); a prompt's share of a step is
//                      bounded by time as well, see step_pacer.h. With embeddings: the longest
//                      input
//   gpu_layers         layers on the GPU (default: all that fit the device's kind)
//   embeddings         the pooling: mean, cls, last, rank (serves /v1/rerank), none; true: the
//   model's own, mean where it names none
//   chat_template      a built-in name or a Jinja text (default: the model's); jinja: true
//   load_mode          auto (= mmap), none, mmap, mlock, mmap+mlock, dio; mlock: true adds mlock
//   repack             true: weights are repacked at load, slower start, faster decode (default
//   false) flash_attention    auto, on, off kv_cache_type      f16 (default), f32, bf16, q8_0,
//   q4_0, q4_1, q5_0, q5_1, iq4_nl prompt_cache_memory  host memory for prompts that lost their
//   slot, e.g. 256MiB (default 0) multimodal         path of the projector file (mmproj) for images
//   and audio extra_args         further arguments of llama-server, as they are; the last of equals
//   wins
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "worker/runtime.h"

namespace stoker::worker {

struct LlamaArguments {
  std::vector<std::string> arguments;  // without a program name
  std::int32_t batch = 0;
  std::string chat_template;  // empty: the model's
  bool jinja = true;
  std::string projector;  // path; empty: text only
};

/// `trained_context`, `names_pooling`: what the model's header says (gguf_header.h).
/// Errors: bad_option with all problems.
[[nodiscard]] tl::expected<LlamaArguments, LoadError> llama_arguments(const LoadOrder& order,
                                                                      std::int64_t trained_context,
                                                                      bool names_pooling = false);

}  // namespace stoker::worker

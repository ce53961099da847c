// Jobs as RunPod's clients write and read them. Pure.
// Source of the shapes: CONVENTIONS.md 2, DESIGN.md 6.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/directory.h"
#include "jobs/job.h"

namespace stoker::jobs {

/// Reads {"input", "webhook", "policy": {"executionTimeout", "ttl", "lowPriority"}}.
///
/// The input says what runs: `messages` a chat, `prompt` a completion, `openai_route` with
/// `openai_input` that route, `inputs` an inference of the Open Inference Protocol, and anything
/// else goes to "/" of a worker that is not ours to know.
/// Errors: invalid, with the field.
[[nodiscard]] Result<JobWish> read_wish(std::string_view body,
                                        const gateway::Deployment& deployment);

/// A request of any route that runs a model, as it is.
[[nodiscard]] JobWish wish_of_call(std::string_view target, std::string_view body);
/// {"id", "status", "delayTime", "executionTime", "output", ...}. `position`: in the queue, from 1.
[[nodiscard]] std::string status_json(const Job& job, WallTime now,
                                      std::optional<std::size_t> position);
/// {"id", "status"}
[[nodiscard]] std::string short_json(std::string_view id, JobState state);
/// {"status", "stream": [{"output": ...}]}; `chunks` are JSON texts.
[[nodiscard]] std::string stream_json(JobState state, const std::vector<std::string>& chunks,
                                      std::size_t from);

/// The message of an error in any dialect of ours, or the whole text.
[[nodiscard]] std::string error_message(std::string_view body);
/// error.code, empty if there is none.
[[nodiscard]] std::string error_code(std::string_view body);
/// `body` as it is if it is JSON, else as a JSON string.
[[nodiscard]] std::string as_json(std::string_view body);

}  // namespace stoker::jobs

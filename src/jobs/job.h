// A job: a request that is kept until it has been answered, and whose answer is kept for a while.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace stoker::jobs {

enum class JobState : std::uint8_t {
  in_queue,
  in_progress,
  completed,
  failed,
  cancelled,
  timed_out,  // it waited longer than its ttl, or ran longer than its executionTimeout
};
/// As RunPod spells them: "IN_QUEUE".
[[nodiscard]] const char* to_text(JobState state);
[[nodiscard]] std::optional<JobState> parse_job_state(std::string_view text);
[[nodiscard]] constexpr bool has_ended(JobState state) {
  return state >= JobState::completed;
}

/// What a client asks for.
struct JobWish {
  std::string target;  // path of a route that runs a model
  std::string body;    // JSON for it
  bool stream = false;
  std::string webhook;         // empty: none
  bool low_priority = false;   // after all that are not
  Duration execution_timeout;  // {0}: the deployment's
  Duration ttl;                // from submission to the latest start
};

struct Job {
  std::uint64_t number = 0;  // in order of submission
  std::string id;
  std::string deployment;
  std::string tenant;
  KeyId key;
  JobWish wish;
  JobState state = JobState::in_queue;
  WallTime created_at;
  std::optional<WallTime> started_at;
  std::optional<WallTime> finished_at;
  RequestId request;  // of the last attempt; zero: none was made
  std::int32_t retries = 0;
  int status = 0;      // HTTP status of the answer, 0 if there was none
  std::string output;  // JSON, empty if there is none
  std::string error;
  std::string worker;  // "chat/3"

  [[nodiscard]] WallTime expires_at() const { return {created_at.ns + wish.ttl.ns}; }
};

}  // namespace stoker::jobs

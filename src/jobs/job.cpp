#include "jobs/job.h"

#include <array>

namespace stoker::jobs {
namespace {

constexpr std::array<const char*, 6> names = {"IN_QUEUE", "IN_PROGRESS", "COMPLETED",
                                              "FAILED",   "CANCELLED",   "TIMED_OUT"};

}  // namespace

const char* to_text(JobState state) {
  return names[static_cast<std::size_t>(state)];
}

std::optional<JobState> parse_job_state(std::string_view text) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (text == names[i]) return static_cast<JobState>(i);
  }
  return std::nullopt;
}

}  // namespace stoker::jobs

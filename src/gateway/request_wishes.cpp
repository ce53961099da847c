#include "gateway/request_wishes.h"

#include <fmt/format.h>

#include <algorithm>

#include "gateway/go_duration.h"
#include "net/clock.h"

namespace stoker::gateway {
namespace {

constexpr std::string_view deadline_field = "X-Stoker-Deadline";
constexpr std::string_view cancel_after_field = "Cancel-After";
constexpr std::string_view progress_field = "X-Stoker-Progress";
constexpr std::string_view resumable_field = "X-Stoker-Resumable";
constexpr Duration longest_deadline = minutes(24 * 60);
constexpr Duration longest_resumable = minutes(10);

ApiError invalid(std::string_view field, std::string message) {
  return {400, "invalid_field", fmt::format("{} {}", field, message), std::string(field), {}};
}

std::optional<ApiError> read_duration(const net::Field& given, std::string_view field,
                                      Duration least, Duration most, std::string_view range,
                                      Duration& into) {
  const std::optional<Duration> value = parse_go_duration(given.value);
  if (!value || *value < least || *value > most) {
    return invalid(field, fmt::format("must be a duration such as \"30s\", {}", range));
  }
  into = *value;
  return std::nullopt;
}

std::optional<ApiError> read_deadline(const net::Field& given, std::string_view field,
                                      Instant accepted_at, Instant& deadline) {
  Duration in;
  if (auto error = read_duration(given, field, ms(1), longest_deadline, "from 1ms to 24h", in)) {
    return error;
  }
  const Instant at = accepted_at + in;
  deadline = deadline == Instant{} ? at : std::min(deadline, at);
  return std::nullopt;
}

std::optional<ApiError> read_progress(const net::Field& given, bool has_events, bool& progress) {
  const bool yes = given.value == "true" || given.value == "1";
  if (!yes && given.value != "false" && given.value != "0") {
    return invalid(progress_field, "must be true or false");
  }
  progress = yes && has_events;
  return std::nullopt;
}

std::optional<ApiError> read_resumable(const net::Field& given, bool has_events,
                                       Duration& resumable) {
  if (!has_events) {
    return invalid(resumable_field,
                   "is for streams of server-sent events; another request can be sent with "
                   "Prefer: wait=N, and goes on as a job");
  }
  return read_duration(given, resumable_field, seconds(1), longest_resumable, "from 1s to 10m",
                       resumable);
}

}  // namespace

std::optional<ApiError> read_wishes(const net::HttpRequest& request, Instant accepted_at,
                                    bool has_events, RequestWishes& wishes) {
  std::optional<ApiError> error;
  for (const net::Field& each : request.fields) {
    const auto is = [&](std::string_view name) {
      return net::equal_ignoring_case(each.name, name);
    };
    if (is(deadline_field)) {
      error = read_deadline(each, deadline_field, accepted_at, wishes.deadline);
    } else if (is(cancel_after_field)) {
      error = read_deadline(each, cancel_after_field, accepted_at, wishes.deadline);
    } else if (is(progress_field)) {
      error = read_progress(each, has_events, wishes.progress);
    } else if (is(resumable_field)) {
      error = read_resumable(each, has_events, wishes.resumable);
    }
    if (error) return error;
  }
  if (wishes.deadline != Instant{} && wishes.deadline <= net::monotonic_now()) {
    return deadline_error();
  }
  return std::nullopt;
}

ApiError deadline_error() {
  return {504,
          "deadline_exceeded",
          "the deadline that came with this request passed (X-Stoker-Deadline, Cancel-After)",
          {},
          {}};
}

ApiError deadline_of_a_job_error() {
  return invalid(deadline_field,
                 "does not go with Prefer: wait=N, as the request may go on as a job; a job has "
                 "policy.ttl and policy.executionTimeout");
}

}  // namespace stoker::gateway

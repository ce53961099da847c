// InferenceRequest, its time: how long it may wait and run, and what it tells its client meanwhile.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "gateway/inference_request.h"
#include "gateway/wait_progress.h"
#include "net/clock.h"

namespace stoker::gateway {

Instant InferenceRequest::latest_dispatch() const {
  if (in_.detached) return in_.detached->what().deadline;
  if (in_.wishes.deadline == Instant{}) return {};
  return std::min(in_.wishes.deadline, net::monotonic_now() + in_.deployment->queue_timeout);
}

Duration InferenceRequest::run_timeout() const {
  const bool own = in_.detached && in_.detached->what().run_timeout.ns > 0;
  return own ? in_.detached->what().run_timeout : in_.deployment->request_timeout;
}

/// Its own deadline, or the end of the time that it may run, whichever is earlier.
void InferenceRequest::arm_deadline(Instant dispatched) {
  const Instant own = in_.wishes.deadline;
  const bool bounded = run_timeout().ns > 0;
  if (own == Instant{} && !bounded) return;
  const Instant run_end = dispatched + run_timeout();
  const bool own_first = own != Instant{} && (!bounded || own < run_end);
  deadline_timer_ = host_.loop.run_at(own_first ? own : run_end, [this, own_first] {
    deadline_timer_ = 0;
    if (phase_ != Phase::running && phase_ != Phase::waiting) return;
    ApiError too_long{504,
                      "request_timeout",
                      fmt::format("the request ran for {} without ending (limits.request_timeout)",
                                  to_text(run_timeout())),
                      {},
                      {}};
    end_with(EndState::expired, own_first ? deadline_error() : std::move(too_long),
             host_.limits.failed_usage_wait);
  });
}

bool InferenceRequest::is_past_deadline() const {
  return in_.wishes.deadline != Instant{} && net::monotonic_now() >= in_.wishes.deadline;
}

/// Begins the stream, so that a failure from here on is told as an event.
void InferenceRequest::tell_progress() {
  progress_timer_ = 0;
  if (phase_ != Phase::waiting || !answer_.open()) return;
  const Instant now = net::monotonic_now();
  if (const std::optional<WaitState> wait = host_.dispatcher.waiting(in_.id)) {
    if (answer_.form() == ClientAnswer::Form::held) start_events();
    answer_.write(progress_event(in_.id, *wait), now);
  }
  progress_timer_ =
      host_.loop.run_at(now + host_.limits.progress_interval, [this] { tell_progress(); });
}

}  // namespace stoker::gateway

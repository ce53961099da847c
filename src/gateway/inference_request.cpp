#include "gateway/inference_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/invariant.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "gateway/forwarding.h"
#include "net/clock.h"

namespace stoker::gateway {
namespace {

ledger::Outcome outcome_of(EndState state) {
  switch (state) {
    case EndState::completed:
      return ledger::Outcome::completed;
    case EndState::failed:
      return ledger::Outcome::failed;
    case EndState::cancelled:
      return ledger::Outcome::cancelled;
    case EndState::expired:
      return ledger::Outcome::expired;
    case EndState::refused:
      return ledger::Outcome::refused;
    case EndState::interrupted:
      return ledger::Outcome::interrupted;
  }
  return ledger::Outcome::failed;
}

void cancel_timer(net::EventLoop& loop, net::TimerId& timer) {
  if (timer != 0) loop.cancel(std::exchange(timer, 0));
}

ApiError storage_error() {
  return {503,
          "storage",
          "the journal cannot be written, so nothing can be accounted for; "
          "free some disk space for the state directory",
          {},
          seconds(5)};
}

/// To the microsecond, so that a line stays short.
double rounded_ms(Duration d) {
  return static_cast<double>((d.ns + 500) / 1000) / 1000.0;
}

/// `reason`: "chat/3 ended while it ran this request (signal 9)".
std::string lost_text(const std::string& reason) {
  return fmt::format("the instance {}; it may have run in part, and can be sent again", reason);
}

}  // namespace

void InferenceRequest::start(RequestHost& host, Incoming incoming) {
  auto request = std::make_shared<InferenceRequest>(host, std::move(incoming));
  host.running.push_front(request);
  request->self_ = host.running.begin();
  request->begin();
}

InferenceRequest::InferenceRequest(RequestHost& host, Incoming incoming)
    : host_(host), in_(std::move(incoming)), answer_(std::move(in_.exchange), in_.route->dialect) {
  timeline_.accepted = answer_.exchange().accepted_at();
}

void InferenceRequest::begin() {
  hear_client();
  const Arrival arrival{.request = in_.id,
                        .deployment = in_.deployment->id,
                        .tenant = in_.key->tenant,
                        .key = in_.key->id,
                        .priority = in_.deployment->priority,
                        .deadline = latest_dispatch(),
                        .estimate = in_.estimate,
                        .affinity = in_.affinity};
  if (const std::optional<Rejection> rejection = host_.dispatcher.reserve(arrival)) {
    refuse_by_limit(*rejection);
    return;
  }
  if (!write_admission()) {
    host_.dispatcher.release(in_.id);
    answer_.fail(storage_error(), own_fields(false));
    done();
    return;
  }
  in_.metrics->in_flight->add();
  in_.metrics->request_bytes->add(answer_.exchange().request().body.size());
  if (in_.stream) arm_keep_alive(timeline_.accepted + host_.limits.stream_head_hold);

  Admission admission = host_.dispatcher.admit(arrival, shared_from_this());
  std::visit(Overloaded{
                 [&](DispatchTargetPtr& target) { dispatch(std::move(target)); },
                 [&](Queued) {
                   if (in_.wishes.progress) tell_progress();
                 },
                 [&](const Rejection& rejection) { refused(rejection); },
             },
             admission);
}

/// What is sent after an upgrade comes to on_data; without one nothing does.
void InferenceRequest::hear_client() {
  answer_.set_callbacks({.on_gone = [this] { client_gone(); },
                         .on_drained =
                             [this] {
                               if (call_ != nullptr && std::exchange(call_paused_, false))
                                 call_->resume();
                             },
                         .on_data = [this](std::string_view bytes) { send_to_engine(bytes); }});
}

bool InferenceRequest::write_admission() {
  const Result<void> written = host_.records.admitted({.request = in_.id,
                                                       .accepted_at = net::wall_now(),
                                                       .deployment = in_.deployment->name,
                                                       .tenant = in_.key->tenant_name,
                                                       .key = in_.key->public_id,
                                                       .route = std::string(in_.route->name),
                                                       .stream = in_.stream,
                                                       .priority = in_.deployment->priority,
                                                       .prices = in_.deployment->prices});
  if (!written) host_.log.error("admission_not_written", {{"reason", written.error().message}});
  return written.has_value();
}

// DispatchSink and DurableListener: called from other threads; all state lives on the loop's.

void InferenceRequest::on_dispatched(DispatchTargetPtr target) {
  host_.loop.post([self = shared_from_this(), target = std::move(target)]() mutable {
    if (self->phase_ == Phase::waiting) self->dispatch(std::move(target));
  });
}

void InferenceRequest::on_rejected(Rejection rejection) {
  host_.loop.post([self = shared_from_this(), rejection = std::move(rejection)] {
    if (self->phase_ == Phase::waiting) self->refused(rejection);
    // The client left while this was on its way: nothing more will come.
    if (self->phase_ == Phase::settling) self->record();
  });
}

void InferenceRequest::on_worker_ended(WorkerUsage usage) {
  host_.loop.post([self = shared_from_this(), usage] {
    if (usage.known) merge_usage(self->usage_, usage);
    if (self->phase_ == Phase::settling) self->record();
  });
}

void InferenceRequest::on_instance_lost(std::string reason) {
  host_.loop.post(
      [self = shared_from_this(), reason = std::move(reason)] { self->instance_lost(reason); });
}

void InferenceRequest::on_durable(bool written) {
  host_.loop.post([self = shared_from_this(), written] {
    if (self->phase_ == Phase::recording) self->deliver(written);
  });
}

void InferenceRequest::dispatch(DispatchTargetPtr target) {
  const Instant now = net::monotonic_now();
  phase_ = Phase::running;
  target_ = std::move(target);
  ran_ = true;
  timeline_.dispatched = now;
  timeline_.start = target_->timeline;
  on_instance_ = true;
  if (in_.detached && !note_dispatch()) return;
  if (deadline_timer_ == 0) arm_deadline(now);
  const net::HttpRequest& request = answer_.exchange().request();
  std::string& fields = host_.fields;
  fields.clear();
  if (in_.translator) {
    add_fields_of_translation(fields, in_.id, in_.key->tenant);
  } else {
    add_fields_for_engine(fields, request.fields, in_.id, in_.key->tenant);
  }
  net::HttpClient& client = host_.upstreams.acquire(*target_);
  net::Call* call = nullptr;
  if (request.upgrade) {
    fields += upgrade_fields;
    call = client.send_upgrade(in_.engine_target, fields, *this);
  } else {
    call = client.send(
        in_.engine_method.empty() ? request.method : in_.engine_method, in_.engine_target, fields,
        in_.changed_body ? std::string_view(*in_.changed_body) : request.body, *this);
  }
  // A call that failed inside send() has already moved the request on.
  if (call != nullptr) call_ = call;
}

/// What a limit refuses was never admitted: no record, and nothing ran.
void InferenceRequest::refuse_by_limit(const Rejection& rejection) {
  in_.metrics->refused_by_limit->add();
  answer_.fail(to_error(rejection), own_fields(false));
  done();
}

/// A job that may have run must not run again after a crash: that it goes to a worker is on record
/// first.   Gives: false if that could not be written, and it has ended.
bool InferenceRequest::note_dispatch() {
  if (const Result<void> noted = host_.records.dispatched(in_.id); !noted) {
    end_with(EndState::failed, storage_error(), {});
    return false;
  }
  in_.detached->dispatched(target_->name);
  return true;
}

void InferenceRequest::refused(const Rejection& rejection) {
  const bool was_late = rejection.reason == RejectReason::queue_timeout;
  end_state_ = was_late ? EndState::expired : EndState::refused;
  error_ = was_late && is_past_deadline() ? deadline_error() : to_error(rejection);
  reason_ = error_->code;
  record();
}

void InferenceRequest::client_gone() {
  const bool switched = answer_.status() == 101;
  answer_.drop();
  if (phase_ != Phase::waiting && phase_ != Phase::running) return;
  if (switched) {
    end_switched([this] { cancel_for_client(); });
  } else {
    cancel_for_client();
  }
}

/// Both sides end a WebSocket at almost the same time, and a dying instance ends it before the word
/// of its death is here: what comes within a moment says how it ended, else `end` does.
void InferenceRequest::end_switched(std::function<void()> end) {
  constexpr Duration moment = ms(50);
  if (settle_timer_ != 0) return;
  settle_timer_ = host_.loop.run_at(net::monotonic_now() + moment, [this, end = std::move(end)] {
    settle_timer_ = 0;
    if (phase_ == Phase::running) end();
  });
}

void InferenceRequest::cancel_for_client() {
  end_with(EndState::cancelled, {499, "client_gone", "the client closed the connection", {}, {}},
           host_.limits.cancelled_usage_wait);
}

void InferenceRequest::instance_lost(const std::string& reason) {
  const bool broke_off = error_ && error_->code == "instance_lost";
  if (phase_ == Phase::settling && broke_off) error_->message = lost_text(reason);
  if (phase_ == Phase::settling) {
    record();
    return;
  }
  if (phase_ != Phase::running) return;
  stop_call();
  end_state_ = EndState::failed;
  error_ = ApiError{502, "instance_lost", lost_text(reason), {}, seconds(1)};
  reason_ = error_->code;
  record();
}

/// Ends a request that waits or runs: tells the engine to stop and waits for what it used.
void InferenceRequest::end_with(EndState state, ApiError error, Duration usage_wait) {
  stop_call();
  end_state_ = state;
  reason_ = error.code;
  error_ = std::move(error);
  const bool was_queued = host_.dispatcher.cancel(in_.id, state);
  // It may have been dispatched meanwhile and only the word of it is still on its way.
  if (!was_queued) ran_ = true;
  if (was_queued || usage_wait.ns == 0) {
    record();
    return;
  }
  phase_ = Phase::settling;
  cancel_timer(host_.loop, settle_timer_);
  settle_timer_ = host_.loop.run_at(net::monotonic_now() + usage_wait, [this] {
    settle_timer_ = 0;
    if (phase_ == Phase::settling) record();
  });
}

/// The engine's answer is whole.
void InferenceRequest::complete(EndState state, std::string reason) {
  end_state_ = state;
  reason_ = std::move(reason);
  record();
}

void InferenceRequest::record() {
  phase_ = Phase::recording;
  cancel_timer(host_.loop, settle_timer_);
  const Instant now = net::monotonic_now();
  leave_instance();
  if (!usage_.known && relay_) {
    // Nobody says what was used (a dead worker, a silent engine): what went on is known.
    usage_.output_tokens = std::max(usage_.output_tokens, relay_->data_events());
  }
  // The slot is free from here on; how long the journal takes is not the instance's time.
  std::int64_t device_ms = 0;
  if (ran_) {
    device_ms = host_.dispatcher.ended(in_.id, end_state_, used());
  }
  ending_ = ending(now, device_ms);
  switch (host_.records.ended(ending_, shared_from_this())) {
    case Recorded::durable:
      deliver(true);
      return;
    case Recorded::pending:
      return;
    case Recorded::failed:
      deliver(false);
      return;
  }
}

TokenCounts InferenceRequest::used() const {
  return {usage_.input_tokens, usage_.output_tokens, usage_.cached_tokens};
}

ledger::Usage InferenceRequest::ending(Instant now, std::int64_t device_ms) {
  timeline_.ended = now;
  int status = answer_.status();
  if (status == 0 && answer_.open()) status = error_ ? error_->status : engine_status_;
  return {.request = in_.id,
          .ended_at = net::wall_now(),
          .outcome = outcome_of(end_state_),
          .status = status,
          .reason = reason_,
          .start = start_kind(timeline_),
          .instance = target_ ? target_->name : std::string(),
          .device = target_ ? target_->device : std::string(),
          .phases = phases_of(timeline_),
          .input_tokens = usage_.input_tokens,
          .output_tokens = usage_.output_tokens,
          .cached_tokens = usage_.cached_tokens,
          .usage_known = usage_.known,
          .device_ms = device_ms};
}

/// The last step: the ending is on record, so the end of the answer may go out.
void InferenceRequest::deliver(bool written) {
  if (!written) {
    host_.log.error("ending_not_written", {{"request", public_id(in_.id)}});
    error_ = storage_error();
  }
  if (in_.kept && !error_) in_.kept->will_be_whole();
  if (error_) {
    answer_.fail(*error_, own_fields(true));
  } else if (relay_) {
    if (answer_.form() == ClientAnswer::Form::held) start_events();
    answer_.write(last_bytes(), timeline_.ended);
    answer_.finish();
  } else if (answer_.form() == ClientAnswer::Form::bytes) {
    answer_.finish();
  } else if (answer_.open()) {
    add_own_fields(engine_fields_, true);
    put_into_dialect();
    answer_.respond(engine_status_, engine_fields_, held_body_);
  }
  in_.metrics->answer_bytes->add(answer_.body_bytes());
  in_.metrics->on_ended(ending_);
  if (host_.access_log && host_.log.writes(obs::Level::info)) write_log(ending_);
  done();
}

void InferenceRequest::done() {
  phase_ = Phase::done;
  in_.kept.reset();
  answer_.drop();
  cancel_timer(host_.loop, deadline_timer_);
  cancel_timer(host_.loop, settle_timer_);
  cancel_timer(host_.loop, keep_alive_timer_);
  cancel_timer(host_.loop, progress_timer_);
  // Some caller further up is still inside a method of this object.
  host_.loop.dispose(std::move(*self_));
  host_.running.erase(self_);
  if (host_.on_done) host_.on_done();
}

/// Gives the connection back to its pool.
void InferenceRequest::leave_instance() {
  if (!std::exchange(on_instance_, false)) return;
  host_.upstreams.release(*target_);
}

void InferenceRequest::stop_call() {
  if (call_ != nullptr) std::exchange(call_, nullptr)->cancel();
}

void InferenceRequest::arm_keep_alive(Instant at) {
  keep_alive_timer_ = host_.loop.run_at(at, [this] { keep_alive(); });
}

/// Nothing was sent for a while: begins the stream if that was not done yet, and sends a comment,
/// so that no proxy takes the silence for a dead connection (F8 in RELIABILITY.md).
void InferenceRequest::keep_alive() {
  keep_alive_timer_ = 0;
  if (!answer_.open() || answer_.form() == ClientAnswer::Form::bytes) return;
  const Instant now = net::monotonic_now();
  if (answer_.form() == ClientAnswer::Form::held) start_events();
  if (answer_.last_write() + host_.limits.keep_alive_interval <= now) {
    answer_.keep_alive(now);
  }
  arm_keep_alive(answer_.last_write() + host_.limits.keep_alive_interval);
}

void InferenceRequest::shut_down() {
  if (phase_ == Phase::settling) {
    record();
  } else if (phase_ == Phase::waiting || phase_ == Phase::running) {
    end_with(EndState::failed,
             {503, "draining", "the server is shutting down; try again", {}, seconds(1)}, {});
  }
}

void InferenceRequest::cut_off() {
  if (phase_ != Phase::waiting && phase_ != Phase::running) return;
  end_with(EndState::cancelled,
           {401, "revoked_api_key", "the key was revoked while this request ran", {}, {}},
           host_.limits.failed_usage_wait);
}

void InferenceRequest::write_log(const ledger::Usage& usage) const {
  host_.log.info("request_ended", {{"request", public_id(in_.id)},
                                   {"deployment", in_.deployment->name},
                                   {"route", in_.route->name},
                                   {"outcome", ledger::to_text(usage.outcome)},
                                   {"status", usage.status},
                                   {"reason", usage.reason},
                                   {"start", ledger::to_text(usage.start)},
                                   {"instance", usage.instance},
                                   {"queue_ms", rounded_ms(usage.phases.queue)},
                                   {"ttft_ms", rounded_ms(usage.phases.ttft)},
                                   {"total_ms", rounded_ms(usage.phases.total())},
                                   {"input_tokens", usage.input_tokens},
                                   {"output_tokens", usage.output_tokens}});
}

}  // namespace stoker::gateway

// InferenceRequest, the engine's side: what its answer becomes for the client.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "gateway/forwarding.h"
#include "gateway/inference_request.h"
#include "gateway/rate_limit.h"
#include "net/clock.h"

namespace stoker::gateway {
namespace {

constexpr std::string_view usage_field = "x-stoker-usage";
constexpr std::size_t fields_bytes = 512;  // what the engine's fields and ours usually need

}  // namespace

/// X-Request-Id, X-Stoker-Start and Server-Timing; `whole` once the request has ended.
void InferenceRequest::add_own_fields(std::string& text, bool whole) const {
  text.append("X-Request-Id: ");
  append_public_id(text, in_.id);
  text.append("\r\n");
  Timeline until_now = timeline_;
  if (!whole) until_now.ended = net::monotonic_now();
  const ledger::StartKind start = start_kind(until_now);
  if (start != ledger::StartKind::none) {
    text.append("X-Stoker-Start: ").append(ledger::to_text(start)).append("\r\n");
  }
  const ledger::Phases phases = whole ? ending_.phases : phases_of(until_now);
  text.append("Server-Timing: ");
  add_server_timing(text, phases, whole);
  text.append("\r\n");
  const bool anthropic = in_.route->dialect == Dialect::anthropic;
  if (anthropic) {  // where its SDK looks for the id
    text.append("request-id: ");
    append_public_id(text, in_.id);
    text.append("\r\n");
  }
  if (!key().limited()) return;
  const Standings standings = host_.dispatcher.standings(key().id);
  add_rate_limit_fields(text, standings);
  if (anthropic) add_anthropic_fields(text, standings, net::coarse_wall_now());
}

std::string InferenceRequest::own_fields(bool whole) const {
  std::string text;
  add_own_fields(text, whole);
  return text;
}

void InferenceRequest::start_events() {
  // Before its dispatch a stream knows nothing but its id; the receipt comes with its last event.
  answer_.start_events(own_fields(false));
}

void InferenceRequest::on_head(const net::HttpResponseHead& head) {
  engine_status_ = head.status;
  const std::string_view type = head.fields.find("content-type").value_or(std::string_view{});
  if (head.status == 200 && is_event_stream(type)) {
    relay_.emplace(StreamRules{in_.route->dialect, target_->speaks_contract, in_.hide_usage,
                               in_.translator.get()},
                   host_.json);
    // A stream that nobody asked for in words we know, as a pass-through route may have.
    if (!in_.stream) arm_keep_alive(net::monotonic_now() + host_.limits.keep_alive_interval);
    return;
  }
  engine_fields_.clear();
  engine_fields_.reserve(fields_bytes);
  add_fields_for_client(engine_fields_, head.fields);
  if (head.status == 101) {
    switch_protocol(head);
    return;
  }
  timeline_.first_byte = net::monotonic_now();
  if (!target_->speaks_contract) return;
  if (const auto usage = head.fields.find(usage_field)) {
    if (const auto counts = parse_worker_usage(*usage)) usage_ = *counts;
  }
}

/// The engine took the upgrade: from here on both sides send as they like, and the request runs
/// until one of them closes.
void InferenceRequest::switch_protocol(const net::HttpResponseHead& head) {
  const auto protocol = head.fields.find("upgrade");
  if (!protocol || !net::equal_ignoring_case(*protocol, "websocket")) {
    end_with(EndState::failed,
             {502, "bad_answer", "the engine switched to a protocol that nobody asked for", {}, {}},
             host_.limits.failed_usage_wait);
    return;
  }
  timeline_.first_byte = net::monotonic_now();
  engine_fields_ += upgrade_fields;
  add_own_fields(engine_fields_, false);
  answer_.switch_protocol(engine_fields_);
}

/// Back-pressure: an engine that reads slowly slows its client.
void InferenceRequest::send_to_engine(std::string_view bytes) {
  if (call_ == nullptr) return;
  call_->write(bytes);
  if (call_->unsent_bytes() > host_.limits.write_buffer_bytes) answer_.pause_input();
}

void InferenceRequest::on_drained() {
  answer_.resume_input();
}

void InferenceRequest::on_body(std::string_view bytes) {
  if (relay_) {
    relay_events(bytes);
  } else {
    relay_bytes(bytes);
  }
}

void InferenceRequest::relay_events(std::string_view bytes) {
  std::string& out = held_body_;  // events that wait for the first token are kept here too
  if (in_.translator) in_.translator->set_time(net::wall_now());
  const bool is_whole = relay_->feed(bytes, out);
  if (timeline_.first_byte.ns == 0 && relay_->data_events() > 0) {
    timeline_.first_byte = net::monotonic_now();
    if (in_.stream && in_.deployment->reports_first_token) {
      host_.dispatcher.first_token(in_.id, timeline_.first_byte - timeline_.accepted);
    }
    if (answer_.form() == ClientAnswer::Form::held) start_events();
    // It runs for good, so it is sent to no other instance.
    answer_.forget_request();
    in_.changed_body.reset();
  }
  if (answer_.form() == ClientAnswer::Form::events && !out.empty()) {
    answer_.write(out, net::monotonic_now());
    out.clear();
    slow_down();
  }
  if (is_whole) {
    stay_within_limits();
    return;
  }
  end_with(EndState::failed,
           {502, "bad_answer", "the engine sent an event that is too large to relay", {}, {}},
           host_.limits.failed_usage_wait);
}

/// Output beyond what was reserved for it: more is reserved, or it ends here.
void InferenceRequest::stay_within_limits() {
  if (relay_->data_events() <= in_.estimate.output || phase_ != Phase::running) return;
  constexpr std::int64_t ahead = 64;  // so that not every token asks
  in_.estimate.output = relay_->data_events() + ahead;
  TokenCounts counts = used();
  counts.output = std::max(counts.output, relay_->data_events());
  if (host_.dispatcher.within_limits(in_.id, counts)) return;
  end_with(EndState::expired,
           {429,
            "rate_limit_exceeded",
            "the limit of output tokens was reached while this ran",
            {},
            seconds(1)},
           host_.limits.failed_usage_wait);
}

void InferenceRequest::relay_bytes(std::string_view bytes) {
  if (answer_.form() == ClientAnswer::Form::bytes) {
    answer_.write(bytes, net::monotonic_now());
    slow_down();
    return;
  }
  held_body_.append(bytes);
  const RequestLimits& limits = host_.limits;
  if (held_body_.size() <= limits.held_answer_bytes) return;
  const bool as_events = answer_.form() == ClientAnswer::Form::events;
  if (in_.translator && !as_events && held_body_.size() <= limits.translated_answer_bytes) return;
  if (in_.translator || as_events) {
    const char* const what = as_events ? "the engine did not answer with a stream"
                                       : "the engine's answer is too large to be translated";
    end_with(EndState::failed, {502, "bad_answer", what, {}, {}}, limits.failed_usage_wait);
    return;
  }
  add_own_fields(engine_fields_, false);
  answer_.start_bytes(engine_status_, engine_fields_);
  answer_.write(held_body_, net::monotonic_now());
  held_body_ = {};
  slow_down();
}

/// Back-pressure: a client that reads slowly slows its engine, and costs no memory.
void InferenceRequest::slow_down() {
  if (call_ == nullptr || call_paused_ || !answer_.open()) return;
  if (answer_.exchange().unsent_bytes() <= host_.limits.write_buffer_bytes) return;
  call_paused_ = true;
  call_->pause();
}

void InferenceRequest::on_end() {
  call_ = nullptr;
  if (relay_) {
    end_of_events();
  } else {
    end_of_bytes();
  }
}

void InferenceRequest::end_of_events() {
  usage_ = relay_->usage();
  if (!held_body_.empty() || answer_.form() == ClientAnswer::Form::held) {
    // A stream without a single token: what was held goes out before the receipt.
    if (answer_.form() == ClientAnswer::Form::held) start_events();
    answer_.write(held_body_, net::monotonic_now());
    held_body_.clear();
  }
  switch (relay_->end()) {
    case StreamRelay::End::terminal:
      complete(EndState::completed, {});
      return;
    case StreamRelay::End::error:
      complete(EndState::failed, "engine_error");
      return;
    case StreamRelay::End::broken:
      end_with(EndState::failed,
               {502, "stream_broken", "the engine ended the stream before its last event", {}, {}},
               host_.limits.failed_usage_wait);
      return;
  }
}

void InferenceRequest::end_of_bytes() {
  if (!target_->speaks_contract && !held_body_.empty()) {
    if (const auto usage = host_.json.engine_usage(held_body_)) usage_ = *usage;
  }
  if (answer_.form() == ClientAnswer::Form::events) {
    fail_late_answer();
    return;
  }
  if (engine_status_ == 101 && answer_.open()) {
    end_switched([this] { complete(EndState::completed, {}); });
    return;
  }
  if (engine_status_ >= 500) {
    complete(EndState::failed, "engine_error");
    return;
  }
  const bool translates = in_.translator && engine_status_ == 200 && !in_.only_loads;
  if (translates && in_.translator->whole(held_body_, {}).empty()) {
    error_ = ApiError{502, "bad_answer", "the engine's answer is not one of its route", {}, {}};
    complete(EndState::failed, error_->code);
    return;
  }
  complete(EndState::completed, {});
}

/// Puts the engine's whole answer into the client's words where those are not the engine's.
void InferenceRequest::put_into_dialect() {
  const Dialect dialect = in_.route->dialect;
  if (dialect != Dialect::ollama && dialect != Dialect::anthropic) return;
  if (in_.translator) in_.translator->set_time(net::wall_now());
  if (in_.only_loads && engine_status_ < 500) {
    engine_status_ = 200;
    held_body_ = in_.translator->only_done("load", ending_);
  } else if (engine_status_ >= 400) {
    std::string message = host_.json.error_message(held_body_);
    if (message.empty()) return;
    held_body_ = error_body(dialect, {engine_status_, "engine_error", std::move(message), {}, {}});
  } else if (in_.translator) {
    held_body_ = in_.translator->whole(held_body_, ending_);
  }
}

/// What a stream ends with, its receipt included.
std::string InferenceRequest::last_bytes() {
  if (!in_.translator) {
    return ": stoker " + receipt_json(in_.deployment->name, ending_) + "\n\n" + relay_->terminal();
  }
  // After an error of the engine nothing more may come.
  if (end_state_ != EndState::completed) return {};
  in_.translator->set_time(net::wall_now());
  return in_.translator->last_line(ending_);
}

/// The engine refused after the stream had begun: its status can no longer be sent.
void InferenceRequest::fail_late_answer() {
  std::string message = host_.json.error_message(held_body_);
  if (message.empty()) message = fmt::format("the engine answered with status {}", engine_status_);
  const int status = engine_status_ >= 400 ? engine_status_ : 502;
  error_ = ApiError{status, "engine_error", std::move(message), {}, {}};
  complete(EndState::failed, "engine_error");
}

void InferenceRequest::on_failure(net::CallFailure failure, const std::string& detail) {
  call_ = nullptr;
  const bool never_arrived =
      failure == net::CallFailure::connect_failed || failure == net::CallFailure::not_delivered;
  if (never_arrived) {
    host_.log.warn(
        "request_undelivered",
        {{"request", public_id(in_.id)}, {"instance", target_->name}, {"reason", detail}});
    leave_instance();
    timeline_.dispatched = {};
    target_.reset();
    phase_ = Phase::waiting;
    host_.dispatcher.undelivered(in_.id);
    return;
  }
  const bool not_http = failure == net::CallFailure::protocol;
  end_with(
      EndState::failed,
      {502,
       not_http ? "bad_answer" : "instance_lost",
       not_http ? fmt::format("the instance {} gave an answer that is not HTTP: {}", target_->name,
                              detail)
                : fmt::format("the instance {} broke off its answer; the request may have run in "
                              "part, and can be sent again",
                              target_->name),
       {},
       seconds(1)},
      host_.limits.failed_usage_wait);
}

}  // namespace stoker::gateway

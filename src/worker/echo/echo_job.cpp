#include "worker/echo/echo_job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr std::size_t write_bytes = 32 << 10;  // events joined into one write
std::string id_prefix(EchoRoute route) {
  switch (route) {
    case EchoRoute::chat:
      return "chatcmpl-";
    case EchoRoute::messages:
      return "msg_";
    case EchoRoute::responses:
      return "resp_";
    default:
      return "cmpl-";
  }
}

constexpr std::string_view garbage_bytes = "\xff\xfe\x00\x01garbage\r\n\r\n";

}  // namespace

void crash(const EchoFaults& faults) {
  if (faults.signal != 0) {
    std::signal(faults.signal, SIG_DFL);
    ::kill(::getpid(), faults.signal);
    ::pause();
  }
  ::_exit(faults.exit_code);
}

EchoJob::EchoJob(WorkerContext& context, std::shared_ptr<const EchoOptions> options,
                 WorkerExchangePtr exchange, EchoRequest request)
    : context_(context),
      options_(std::move(options)),
      exchange_(std::move(exchange)),
      request_(std::move(request)) {
  const std::int64_t words = static_cast<std::int64_t>(request_.words.size());
  const std::int64_t natural = options_->tokens.value_or(std::max<std::int64_t>(words, 1));
  total_tokens_ = std::min(natural, request_.max_tokens.value_or(natural));
  cut_off_ = total_tokens_ < natural;
  answer_.route = request_.route;
  answer_.id = id_prefix(request_.route) + exchange_->id();
  answer_.model = request_.model;
  answer_.created_s = net::wall_now().ns / seconds(1).ns;
  answer_.input_tokens = request_.input_tokens;
  answer_.include_usage = request_.include_usage;
}

void EchoJob::start() {
  started_at_ = context_.loop.now();
  note_usage();
  if (request_.stream) {
    exchange_->start_stream("text/event-stream");
    events_ = opening_event(answer_);
  }
  next_token_at_ = started_at_ + options_->prefill_delay;
  run();
}

void EchoJob::run() {
  if (!exchange_ || hung_) return;
  set_held_up(false);
  if (timer_ != 0) context_.loop.cancel(std::exchange(timer_, 0));
  if (exchange_->stopped() && !options_->faults.ignore_cancel) return let_go();
  while (emitted_ < total_tokens_) {
    const Instant now = context_.loop.now();
    if (next_token_at_ > now) {
      flush();
      return wait_until(next_token_at_);
    }
    if (emitted_ == 0 && strikes({Moment::first_token})) return;
    emit_token();
    if (strikes({Moment::token, emitted_})) return;
    next_token_at_ = next_token_at_ + options_->token_delay;
    if (events_.size() < write_bytes) continue;
    flush();
    if (exchange_->stopped()) return let_go();
    if (exchange_->congested()) return wait_until_writable();
  }
  if (next_token_at_ > context_.loop.now() && total_tokens_ == 0) return wait_until(next_token_at_);
  conclude();
}

/// Crashes here if the options say so. Gives: whether the job hangs from now on.
bool EchoJob::strikes(FaultPoint point) {
  const EchoFaults& faults = options_->faults;
  if (faults.crash_at == point) {
    flush();
    // The token before the crash goes out: the loop sends at the end of its round.
    context_.loop.post([options = options_] { crash(options->faults); });
    hung_ = true;
  }
  if (faults.hang_at == point) {
    flush();
    hung_ = true;  // the registry keeps the exchange, for ever running
  }
  return hung_;
}

void EchoJob::emit_token() {
  const std::string_view text = token_text();
  emitted_bytes_ += static_cast<std::int64_t>(text.size());
  ++emitted_;
  count_step(context_.counters);
  count_tokens(context_.counters);
  note_usage();
  if (!request_.stream) return;
  append_token_event(events_, answer_, text);
  if (emitted_ == 1 && options_->faults.garbage_at == Garbage::stream) events_ += garbage_bytes;
}

/// The next word with the space that parts it from the one after; the last is padded.
std::string_view EchoJob::token_text() {
  constexpr std::string_view without_words = "echo";
  const auto index = static_cast<std::size_t>(emitted_);
  const bool last = emitted_ + 1 == total_tokens_;
  token_ = request_.words.empty() ? without_words
                                  : std::string_view(request_.words[index % request_.words.size()]);
  if (!last) token_ += ' ';
  if (last && options_->reply_bytes) {
    const std::int64_t missing = *options_->reply_bytes - emitted_bytes_;
    token_.resize(static_cast<std::size_t>(std::max<std::int64_t>(missing, 0)), 'x');
  }
  return token_;
}

std::string EchoJob::whole_text() {
  std::string text;
  emitted_bytes_ = 0;
  for (emitted_ = 0; emitted_ < total_tokens_; ++emitted_) {
    text += token_text();
    emitted_bytes_ = static_cast<std::int64_t>(text.size());
  }
  return text;
}

void EchoJob::note_usage() {
  RequestUsage usage;
  usage.input = request_.input_tokens;
  usage.output = emitted_;
  usage.device_ms = whole_ms(context_.loop.now() - started_at_);
  if (options_->faults.negative_usage) usage = {.input = -1, .output = -1, .device_ms = -1};
  exchange_->set_usage(usage);
}

void EchoJob::flush() {
  if (events_.empty()) return;
  exchange_->write(events_);
  events_.clear();
}

/// A job that waits must hear of a stop. The wake-up may come on the control thread, and after the
/// job is gone.
void EchoJob::watch_for_stop() {
  if (std::exchange(watches_, true)) return;
  exchange_->on_stop([&loop = context_.loop, job = weak_from_this()] {
    loop.post([job] {
      if (const auto self = job.lock()) self->run();
    });
  });
}

void EchoJob::set_held_up(bool held_up) {
  if (held_up == held_up_) return;
  held_up_ = held_up;
  if (held_up) {
    context_.counters.held_up.fetch_add(1, std::memory_order_relaxed);
  } else {
    context_.counters.held_up.fetch_sub(1, std::memory_order_relaxed);
  }
}

void EchoJob::wait_until_writable() {
  set_held_up(true);
  watch_for_stop();
  exchange_->on_writable([self = shared_from_this()] { self->run(); });
}

void EchoJob::wait_until(Instant at) {
  watch_for_stop();
  timer_ = context_.loop.run_at(at, [self = shared_from_this()] {
    self->timer_ = 0;
    self->run();
  });
}

void EchoJob::conclude() {
  note_usage();
  if (request_.stream) {
    conclude_stream();
  } else {
    const std::string_view odd_head =
        options_->faults.garbage_at == Garbage::http ? "\x01 this is no field\r\n" : "";
    exchange_->respond(200, "application/json",
                       unary_answer(answer_, whole_text(), total_tokens_, cut_off_), odd_head);
  }
  let_go();
}

void EchoJob::conclude_stream() {
  const std::string text = closing_repeats_text(answer_.route) ? whole_text() : std::string();
  events_ += closing_events(answer_, text, total_tokens_, cut_off_);
  if (options_->faults.tokens_after_done) append_token_event(events_, answer_, "late");
  if (options_->faults.double_done) events_ += "data: [DONE]\n\n";
  flush();
  exchange_->finish();
}

void EchoJob::let_go() {
  std::exchange(exchange_, nullptr)->release();
}

}  // namespace stoker::worker

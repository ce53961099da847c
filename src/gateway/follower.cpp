#include "gateway/follower.h"

#include <string>
#include <utility>

#include "gateway/admin_routes.h"

namespace stoker::gateway {
namespace {

constexpr std::size_t most_unsent_bytes = std::size_t{1} << 20;
constexpr Duration keep_alive_interval = seconds(10);

}  // namespace

std::shared_ptr<Follower> Follower::create(net::EventLoop& loop, AdminThread& thread,
                                           net::ExchangePtr exchange, Form form, RequestId id) {
  auto follower = std::make_shared<Follower>(loop, thread, form, id);
  follower->exchange_ = std::move(exchange);
  follower->exchange_->set_callbacks({.on_gone =
                                          [weak = std::weak_ptr(follower)] {
                                            if (const auto self = weak.lock()) self->end();
                                          },
                                      .on_drained = {}});
  return follower;
}

void Follower::on_line(std::string_view line) {
  loop_.post([self = shared_from_this(), line = std::string(line)] { self->write(line); });
}

void Follower::on_closed() {
  loop_.post([self = shared_from_this()] { self->end(); });
}

void Follower::subscribed(Result<std::unique_ptr<Subscription>> result) {
  if (!result) {
    loop_.post(
        [self = shared_from_this(), error = to_error(result.error())] { self->refuse(error); });
    return;
  }
  loop_.post([self = shared_from_this(), subscription = std::shared_ptr(std::move(*result))] {
    self->subscription_ = subscription;
    self->begin();
    if (!self->exchange_) self->unsubscribe();  // ended in the meantime
  });
}

void Follower::refuse(const ApiError& error) {
  if (exchange_ && !begun_) send_error(*exchange_, Dialect::plain, error, id_);
  exchange_.reset();
}

void Follower::begin() {
  if (begun_ || !exchange_) return;
  begun_ = true;
  const bool events = form_ == Form::events;
  exchange_->start(
      200,
      plain_fields(events ? "text/event-stream; charset=utf-8" : "text/plain; charset=utf-8", id_) +
          "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n",
      std::nullopt);
  if (!events) return;
  exchange_->write(": following\n\n");  // so that the head goes out at once
  keep_alive_timer_ = loop_.run_at(loop_.now() + keep_alive_interval, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->keep_alive();
  });
}

void Follower::write(std::string_view line) {
  if (!exchange_) return;
  begin();
  std::string bytes;
  bytes.append(form_ == Form::events ? "data: " : "").append(line);
  bytes.append(form_ == Form::events ? "\n\n" : "\n");
  exchange_->write(bytes);
  if (exchange_->unsent_bytes() <= most_unsent_bytes) return;
  exchange_->abort();
  end();
}

void Follower::keep_alive() {
  keep_alive_timer_ = 0;
  if (!exchange_) return;
  exchange_->write(": keep-alive\n\n");
  keep_alive_timer_ = loop_.run_at(loop_.now() + keep_alive_interval, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->keep_alive();
  });
}

void Follower::end() {
  if (keep_alive_timer_ != 0) loop_.cancel(std::exchange(keep_alive_timer_, 0));
  if (exchange_) {
    begin();
    exchange_->finish();
    exchange_.reset();
  }
  unsubscribe();
}

/// A subscription may wait for a line that is on its way; never on the loop.
void Follower::unsubscribe() {
  if (!subscription_) return;
  thread_.submit_always(
      [subscription = std::move(subscription_)]() mutable { subscription.reset(); });
}

}  // namespace stoker::gateway

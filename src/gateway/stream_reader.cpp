#include "gateway/stream_reader.h"

#include <utility>

namespace stoker::gateway {
namespace {

constexpr std::size_t taken_at_once = std::size_t{64} << 10;

}  // namespace

StreamReader::StreamReader(net::EventLoop& loop, KeptStreams& streams, net::ExchangePtr exchange,
                           std::size_t most_unsent)
    : loop_(loop), streams_(streams), most_unsent_(most_unsent), exchange_(std::move(exchange)) {}

void StreamReader::start(KeptStreamPtr stream, std::string_view fields) {
  stream_ = std::move(stream);
  exchange_->set_callbacks({.on_gone =
                                [weak = weak_from_this()] {
                                  if (const auto self = weak.lock()) self->leave();
                                },
                            .on_drained =
                                [weak = weak_from_this()] {
                                  if (const auto self = weak.lock()) self->pump();
                                },
                            .on_data = {}});
  exchange_->start(200, fields, std::nullopt);
}

void StreamReader::on_news(const net::EventLoop* on) {
  if (on == &loop_) {
    pump();
  } else if (!is_posted_.exchange(true)) {
    loop_.post([self = shared_from_this()] {
      self->is_posted_ = false;
      self->pump();
    });
  }
}

void StreamReader::on_passing(std::string_view bytes, const net::EventLoop* on) {
  if (on == &loop_) {
    if (exchange_) exchange_->write(bytes);
    return;
  }
  loop_.post([self = shared_from_this(), bytes = std::string(bytes)] {
    if (self->exchange_ && self->stream_) self->exchange_->write(bytes);
  });
}

/// Its client has most likely lost this connection and does not know of it yet.
void StreamReader::on_replaced() {
  loop_.post([self = shared_from_this()] {
    if (self->exchange_) self->exchange_->abort();
    self->leave();
  });
}

void StreamReader::pump() {
  if (!exchange_ || !stream_) return;
  while (exchange_->unsent_bytes() <= most_unsent_) {
    std::string events;
    const KeptStreams::Taken taken = streams_.take(*stream_, *this, taken_at_once, events);
    if (!events.empty()) exchange_->write(events);
    switch (taken) {
      case KeptStreams::Taken::some:
        break;
      case KeptStreams::Taken::all:
        return;
      case KeptStreams::Taken::end:
        exchange_->finish();
        leave();
        return;
      case KeptStreams::Taken::cut:
        exchange_->abort();
        leave();
        return;
    }
  }
}

void StreamReader::leave() {
  if (const KeptStreamPtr stream = std::exchange(stream_, nullptr)) {
    streams_.detach(*stream, *this);
  }
  if (exchange_) std::exchange(exchange_, nullptr)->set_callbacks({});
}

}  // namespace stoker::gateway

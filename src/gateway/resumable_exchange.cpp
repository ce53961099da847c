#include "gateway/resumable_exchange.h"

#include <algorithm>
#include <utility>

#include "gateway/forwarding.h"
#include "gateway/wait_progress.h"
#include "net/clock.h"

namespace stoker::gateway {
namespace {

/// The gateway relays none that is larger; its own are small.
constexpr std::size_t largest_event = std::size_t{9} << 20;

/// `raw` without its lines `id`: the engine's ids would stand for others than ours.
void append_without_id(std::string& out, std::string_view raw) {
  if (!raw.starts_with("id") && raw.find("\nid") == raw.npos) {
    out += raw;
    return;
  }
  while (!raw.empty()) {
    const std::size_t end = std::min(raw.find('\n'), raw.size() - 1) + 1;
    const std::string_view line = raw.substr(0, end);
    raw.remove_prefix(end);
    const std::string_view name = line.substr(0, line.find_first_of(":\r\n"));
    if (name != "id") out += line;
  }
}

/// Kept in vain: it only says what is so now. Of comments but the receipt is kept.
bool is_passing(const net::SseEvent& event) {
  return event.comment_only ? !event.comment.starts_with("stoker ")
                            : event.name == progress_event_name;
}

void expire_later(net::EventLoop& loop, KeptStreams& streams, const KeptStreamPtr& stream,
                  Duration keep) {
  loop.run_at(net::monotonic_now() + keep, [&loop, &streams, stream, keep] {
    if (!streams.expire(*stream)) expire_later(loop, streams, stream, keep);
  });
}

}  // namespace

ResumableExchange::ResumableExchange(net::ExchangePtr inner, net::EventLoop& loop,
                                     KeptStreams& streams, KeptStreamOwner owner, Duration keep,
                                     std::size_t most_unsent)
    : inner_(std::move(inner)),
      loop_(loop),
      streams_(streams),
      owner_(std::move(owner)),
      keep_(keep),
      most_unsent_(most_unsent),
      framer_(largest_event) {}

void ResumableExchange::set_callbacks(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  if (!stream_) inner_->set_callbacks(callbacks_);
}

void ResumableExchange::respond(int status, std::string_view head_fields, std::string_view body) {
  inner_->respond(status, head_fields, body);
}

void ResumableExchange::switch_protocol(std::string_view head_fields) {
  inner_->switch_protocol(head_fields);
}

void ResumableExchange::start(int status, std::string_view head_fields,
                              std::optional<std::uint64_t> content_length) {
  const bool has_events = status == 200 && is_event_stream(content_type_of(head_fields));
  if (has_events && inner_->open()) {
    auto reader = std::make_shared<StreamReader>(loop_, streams_, inner_, most_unsent_);
    stream_ = streams_.begin(owner_, weak_from_this(), reader);
    if (stream_) {
      reader->start(stream_, head_fields);
      return;
    }
  }
  inner_->start(status, head_fields, content_length);
}

void ResumableExchange::write(std::string_view bytes) {
  if (!stream_) {
    inner_->write(bytes);
    return;
  }
  framer_.feed(bytes);
  net::SseEvent event;
  while (!over_ && framer_.next(event) == net::SseFramer::Next::event) {
    if (is_passing(event)) {
      streams_.pass(*stream_, event.raw, &loop_);
    } else if (event.comment_only) {
      comments_ += event.raw;
    } else {
      keep(event);
    }
  }
  streams_.announce(*stream_, &loop_);
}

void ResumableExchange::keep(const net::SseEvent& event) {
  std::string text = std::exchange(comments_, {});
  text.append("id: ").append(std::to_string(++last_id_)).append("\n");
  append_without_id(text, event.raw);
  if (!streams_.append(*stream_, std::move(text))) over_ = true;  // on_lost() follows
}

void ResumableExchange::end(bool whole) {
  if (!stream_) {
    whole ? inner_->finish() : inner_->abort();
    return;
  }
  if (std::exchange(over_, true)) return;
  streams_.end(*stream_, whole, std::move(comments_), &loop_);
  expire_later(loop_, streams_, stream_, keep_);
}

/// What the reader of its stream has not taken yet; its connection holds no more than it may.
std::size_t ResumableExchange::unsent_bytes() const {
  return stream_ ? streams_.untaken_bytes(*stream_, most_unsent_ / 4) : inner_->unsent_bytes();
}

void ResumableExchange::on_taken() {
  loop_.post([self = shared_from_this()] {
    if (self->callbacks_.on_drained) self->callbacks_.on_drained();
  });
}

void ResumableExchange::on_reader_left(std::uint64_t absence) {
  loop_.post([self = shared_from_this(), absence] { self->wait_for_client(absence); });
}

void ResumableExchange::wait_for_client(std::uint64_t absence) {
  if (over_) return;
  // Nobody slows the engine any more; what is kept is bounded.
  if (callbacks_.on_drained) callbacks_.on_drained();
  loop_.run_at(net::monotonic_now() + keep_, [weak = weak_from_this(), absence] {
    const auto self = weak.lock();
    if (self && !self->over_ && self->streams_.abandon(*self->stream_, absence)) self->give_up();
  });
}

void ResumableExchange::on_lost() {
  loop_.post([self = shared_from_this()] { self->give_up(); });
}

/// From here on its client is gone, as any other whose connection broke.
void ResumableExchange::give_up() {
  over_ = true;
  if (callbacks_.on_gone) std::exchange(callbacks_.on_gone, nullptr)();
}

}  // namespace stoker::gateway

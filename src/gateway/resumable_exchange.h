// An exchange whose client may come back: stands between a request and its connection, gives each
// event of its stream an id, and keeps them in KeptStreams. A client that goes away once the stream
// has begun is waited for; before that it has no id to come back with, so it is gone.
//
// What is no stream of events passes through as it is.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "gateway/kept_streams.h"
#include "gateway/stream_reader.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "net/sse.h"

namespace stoker::gateway {

/// Threads: the loop's, but for the calls of KeptWriter and the last pointer.
class ResumableExchange final : public net::Exchange,
                                public KeptWriter,
                                public std::enable_shared_from_this<ResumableExchange> {
 public:
  /// `keep`: how long the stream goes on without a reader, and how long it is kept after its end.
  /// `most_unsent`: as many bytes as a connection may hold. `loop` and `streams` outlive it.
  ResumableExchange(net::ExchangePtr inner, net::EventLoop& loop, KeptStreams& streams,
                    KeptStreamOwner owner, Duration keep, std::size_t most_unsent);

  [[nodiscard]] const net::HttpRequest& request() const override { return inner_->request(); }
  [[nodiscard]] Instant accepted_at() const override { return inner_->accepted_at(); }
  [[nodiscard]] const std::shared_ptr<const void>& context() const override {
    return inner_->context();
  }
  [[nodiscard]] bool open() const override { return stream_ ? !over_ : inner_->open(); }
  [[nodiscard]] std::string peer() const override { return inner_->peer(); }
  void forget_request() override { inner_->forget_request(); }
  void respond(int status, std::string_view head_fields, std::string_view body) override;
  void start(int status, std::string_view head_fields,
             std::optional<std::uint64_t> content_length) override;
  /// Needs: whole events, where it is a stream of them.
  void write(std::string_view bytes) override;
  void switch_protocol(std::string_view head_fields) override;
  void pause_input() override { inner_->pause_input(); }
  void resume_input() override { inner_->resume_input(); }
  void finish() override { end(true); }
  void abort() override { end(false); }
  [[nodiscard]] std::size_t unsent_bytes() const override;
  void set_callbacks(Callbacks callbacks) override;

  void on_taken() override;
  void on_reader_left(std::uint64_t absence) override;
  void on_lost() override;

 private:
  void keep(const net::SseEvent& event);
  void end(bool whole);
  void wait_for_client(std::uint64_t absence);
  void give_up();

  const net::ExchangePtr inner_;
  net::EventLoop& loop_;
  KeptStreams& streams_;
  const KeptStreamOwner owner_;
  const Duration keep_;
  const std::size_t most_unsent_;
  Callbacks callbacks_;
  KeptStreamPtr stream_;  // null until a stream of events began
  net::SseFramer framer_;
  std::string comments_;  // that wait for the event after them
  std::uint64_t last_id_ = 0;
  bool over_ = false;
};

}  // namespace stoker::gateway

// One client that reads a kept stream: takes events as fast as its connection does, and no faster.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/kept_streams.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// Threads: the loop's, but for the calls of KeptReader and the last pointer.
class StreamReader final : public KeptReader, public std::enable_shared_from_this<StreamReader> {
 public:
  /// `loop` and `streams` outlive it. `most_unsent`: as many bytes as its connection may hold.
  StreamReader(net::EventLoop& loop, KeptStreams& streams, net::ExchangePtr exchange,
               std::size_t most_unsent);
  /// Begins the answer with `fields` as its head. Needs: it is the stream's reader.
  void start(KeptStreamPtr stream, std::string_view fields);

  void on_news(const net::EventLoop* on) override;
  void on_passing(std::string_view bytes, const net::EventLoop* on) override;
  void on_replaced() override;

 private:
  void pump();
  void leave();

  net::EventLoop& loop_;
  KeptStreams& streams_;
  const std::size_t most_unsent_;
  net::ExchangePtr exchange_;            // null once it is over
  KeptStreamPtr stream_;                 // null until start() and once it is over
  std::atomic<bool> is_posted_ = false;  // a pump() is on its way
};

}  // namespace stoker::gateway

// One client that follows events or a log: lines come from any thread and go out on the client's
// loop. A client that reads too slowly is cut off rather than buffered for without end.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/admin_api.h"
#include "gateway/admin_thread.h"
#include "gateway/api_error.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

class Follower final : public LineSink, public std::enable_shared_from_this<Follower> {
 public:
  enum class Form : std::uint8_t {
    events,  // server-sent events, one line each
    text,    // lines of plain text
  };
  static std::shared_ptr<Follower> create(net::EventLoop& loop, AdminThread& thread,
                                          net::ExchangePtr exchange, Form form, RequestId id);
  Follower(net::EventLoop& loop, AdminThread& thread, Form form, RequestId id)
      : loop_(loop), thread_(thread), form_(form), id_(id) {}

  // Threads: any.
  void on_line(std::string_view line) override;
  void on_closed() override;
  /// What the query came to: following has begun, or an error to answer with.
  void subscribed(Result<std::unique_ptr<Subscription>> result);

  /// Threads: the loop's.
  void refuse(const ApiError& error);

 private:
  void begin();
  void write(std::string_view line);
  void end();
  void keep_alive();
  void unsubscribe();

  net::EventLoop& loop_;
  AdminThread& thread_;
  const Form form_;
  const RequestId id_;
  // On the loop's thread only, from here on.
  net::ExchangePtr exchange_;
  std::shared_ptr<Subscription> subscription_;
  bool begun_ = false;
  net::TimerId keep_alive_timer_ = 0;
};

}  // namespace stoker::gateway

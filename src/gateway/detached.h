// Requests that nobody is connected for: jobs. They run as any other, through the same checks,
// limits, queue and records; only their answer goes to a sink instead of a socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "access/key_ring.h"
#include "base/units.h"
#include "gateway/directory.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// Hears how a detached request goes.
/// Threads: the gateway loop's; an implementation only posts.
class DetachedSink {
 public:
  virtual ~DetachedSink() = default;
  /// It goes to a worker, and that is on record.
  virtual void on_dispatched(std::string worker) = 0;
  /// Bytes of a streamed answer, as a client would get them.
  virtual void on_bytes(std::string_view bytes) = 0;
  /// The end; the last call. `status` 0: the answer broke off. `body`: of an answer that is no
  /// stream.
  virtual void on_end(int status, std::string content_type, std::string body) = 0;
};

struct DetachedRequest {
  RequestId id;
  DeploymentPtr deployment;
  access::KeyPtr key;
  std::string target;    // path and query of a route that runs a model
  std::string body;      // JSON
  Duration run_timeout;  // from dispatch; {0}: the deployment's
  Instant deadline;      // latest dispatch
};

class RequestLauncher {
 public:
  virtual ~RequestLauncher() = default;
  /// Threads: any. `sink` hears of it until on_end.
  virtual void launch(DetachedRequest request, std::shared_ptr<DetachedSink> sink) = 0;
  /// Threads: any. As if the client had left; on_end does not follow.
  virtual void cancel_launched(RequestId request) = 0;
};

/// Stands where a connection would: on the loop's thread only.
class DetachedExchange final : public net::Exchange {
 public:
  DetachedExchange(DetachedRequest request, std::shared_ptr<DetachedSink> sink, Instant now);

  [[nodiscard]] const net::HttpRequest& request() const override { return head_; }
  [[nodiscard]] Instant accepted_at() const override { return accepted_at_; }
  [[nodiscard]] const std::shared_ptr<const void>& context() const override { return context_; }
  [[nodiscard]] bool open() const override { return sink_ != nullptr; }
  [[nodiscard]] std::string peer() const override { return "job"; }
  void forget_request() override;
  void respond(int status, std::string_view head_fields, std::string_view body) override;
  void start(int status, std::string_view head_fields,
             std::optional<std::uint64_t> content_length) override;
  void write(std::string_view bytes) override;
  // A job is no upgrade.
  void switch_protocol(std::string_view) override {}
  void pause_input() override {}
  void resume_input() override {}
  void finish() override;
  void abort() override;
  [[nodiscard]] std::size_t unsent_bytes() const override { return 0; }
  void set_callbacks(Callbacks callbacks) override { callbacks_ = std::move(callbacks); }

  /// Its client has left.
  void leave();
  void dispatched(const std::string& worker);
  [[nodiscard]] const DetachedRequest& what() const { return what_; }

 private:
  void end(int status, std::string content_type, std::string body);

  DetachedRequest what_;
  std::shared_ptr<DetachedSink> sink_;  // null once it ended
  const Instant accepted_at_;
  const std::shared_ptr<const void> context_;
  net::HttpRequest head_;
  Callbacks callbacks_;
  int status_ = 0;
  std::string content_type_;
};

}  // namespace stoker::gateway

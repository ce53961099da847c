// WorkerExchange over one net::Exchange: brings answers from compute threads to the loop, adds the
// usage, and finds the moment at which a request has ended.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "net/event_loop.h"
#include "net/http_server.h"
#include "worker/exchange.h"
#include "worker/request_registry.h"

namespace stoker::worker {

/// Gives: "input=12,output=34,cached=0,device_ms=120".
[[nodiscard]] std::string usage_text(const RequestUsage& usage);
/// Where the terminal event of an SSE dialect begins in `events`; npos if it is not in it.
[[nodiscard]] std::size_t find_terminal_event(std::string_view events);
/// The OpenAI-shaped body of an error.
[[nodiscard]] std::string error_json(std::string_view type, std::string_view code,
                                     std::string_view message);

/// What all exchanges of a process share.
struct ExchangeHome {
  net::EventLoop& loop;
  WorkerCounters& counters;
  RequestRegistry& registry;
  std::thread::id loop_thread;
  std::size_t write_buffer_bytes = 0;
};

class HttpWorkerExchange final : public WorkerExchange,
                                 public Stoppable,
                                 public std::enable_shared_from_this<HttpWorkerExchange> {
 public:
  /// `remembered`: the id came from the gateway, so that a cancel may name it.
  HttpWorkerExchange(ExchangeHome& home, net::ExchangePtr http, std::string id, bool remembered);

  /// After the registry admitted it; loop thread.
  void watch_connection();

  [[nodiscard]] const std::string& id() const override { return id_; }
  [[nodiscard]] std::string_view method() const override { return method_; }
  [[nodiscard]] std::string_view path() const override { return path_; }
  [[nodiscard]] std::string_view query() const override { return query_; }
  [[nodiscard]] std::string_view body() const override { return body_; }
  [[nodiscard]] std::optional<std::string_view> field(std::string_view name) const override {
    return fields_.find(name);
  }
  [[nodiscard]] bool stopped() const override { return stopped_.load(std::memory_order_acquire); }
  void on_stop(std::function<void()> wake) override;
  void set_usage(const RequestUsage& usage) override;
  void respond(int status, std::string_view content_type, std::string_view body,
               std::string_view head_fields) override;
  void respond_error(int status, std::string_view type, std::string_view code,
                     std::string_view message) override;
  void start_stream(std::string_view content_type, std::string_view head_fields) override;
  bool write(std::string_view bytes) override;
  void finish() override;
  [[nodiscard]] bool congested() const override {
    return congested_.load(std::memory_order_acquire);
  }
  bool wait_writable() override;
  void on_writable(std::function<void()> ready) override;
  void release() override;

  void stop() override;

 private:
  enum class Answer : std::uint8_t { none, streaming, done };

  /// What compute threads queued for the loop.
  struct Pending {
    bool starts = false;
    bool finishes = false;
    int status = 0;           // of a whole answer; 0: none
    std::string head_fields;  // of the start or of the whole answer
    std::string bytes;
  };

  [[nodiscard]] bool on_loop() const { return std::this_thread::get_id() == home_.loop_thread; }
  void copy_request(const net::HttpRequest& request);
  [[nodiscard]] RequestUsage usage() const;
  /// Bytes of a stream with the usage comment before its terminal event.
  void append_with_usage(std::string& out, std::string_view bytes);
  void append_usage_comment(std::string& out);
  template <class Change>
  void queue(Change&& change);
  void flush();  // loop thread
  void apply(Pending pending);
  void note_congestion();
  void answer_unanswered();
  void complete();  // loop thread: released, and the answer is with the socket

  ExchangeHome& home_;
  net::ExchangePtr http_;  // loop thread
  const std::string id_;
  const bool remembered_;
  std::string storage_;  // backs the views below
  std::string_view method_, path_, query_, body_;
  net::Fields fields_;

  // Of the one thread that answers.
  Answer answer_ = Answer::none;
  bool event_stream_ = false;
  bool usage_sent_ = false;
  int status_ = 0;

  std::atomic<bool> stopped_{false};
  std::atomic<bool> answered_{false};
  std::atomic<bool> congested_{false};
  std::array<std::atomic<std::int64_t>, 4> usage_{};

  std::mutex mutex_;
  std::condition_variable writable_;
  std::function<void()> wake_;   // on_stop
  std::function<void()> ready_;  // on_writable; loop thread calls it
  Pending pending_;
  bool flush_posted_ = false;
};

}  // namespace stoker::worker

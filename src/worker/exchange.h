// One request inside a worker: what was asked, whether to stop, and the way to answer.
// The framework implements it, runtimes use it. It owns copies of the request, so that compute
// threads may read it after the connection broke. It never retries and never buffers an answer
// beyond what the socket has not taken.
//
// Life: Runtime::serve() receives it. The runtime answers (respond, or start_stream, write...,
// finish), and calls release() once no compute thread touches the request any more. The request has
// ended when both have happened; only then does `active` fall and `ended` go out. A runtime that
// releases without having answered leaves the answer to the framework: 499 or an error event when
// the request was stopped, else 500.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace stoker::worker {

/// What a request has used so far. Units: tokens; milliseconds of the device.
struct RequestUsage {
  std::int64_t input = 0;
  std::int64_t output = 0;
  std::int64_t cached = 0;
  std::int64_t device_ms = 0;
  bool operator==(const RequestUsage&) const = default;
};

/// Threads: any, unless a line says otherwise. One thread at a time answers.
class WorkerExchange {
 public:
  virtual ~WorkerExchange() = default;

  /// The public id; one that the framework made up ("local-7") when the caller sent none.
  [[nodiscard]] virtual const std::string& id() const = 0;
  // Views are valid as long as the exchange is held.
  [[nodiscard]] virtual std::string_view method() const = 0;
  [[nodiscard]] virtual std::string_view path() const = 0;   // without query, escapes untouched
  [[nodiscard]] virtual std::string_view query() const = 0;  // without '?'
  [[nodiscard]] virtual std::string_view body() const = 0;   // whole
  /// Value of a header field; the case of `name` does not matter.
  [[nodiscard]] virtual std::optional<std::string_view> field(std::string_view name) const = 0;

  /// True once nobody wants the answer: cancel, a gone client, unload or the end of the process.
  /// Never false again. Compute threads look at it at least once per step. Cost: one atomic load.
  [[nodiscard]] virtual bool stopped() const = 0;
  /// `wake` is called once when the request is stopped, at once if it already is. It runs on the
  /// control or the loop thread: it must not block, nor call this exchange back except stopped().
  /// A later call replaces it; an empty function removes it. After release() it is never called.
  virtual void on_stop(std::function<void()> wake) = 0;

  /// Replaces the usage as known so far. Call it as work goes on, not only at its end: a cancelled
  /// request is billed from the last values. Must be called before the answer's last byte.
  virtual void set_usage(const RequestUsage& usage) = 0;

  /// Whole answer. `head_fields` is raw text, each field "Name: value\r\n"; Content-Type,
  /// Content-Length and X-Stoker-Usage are added.
  virtual void respond(int status, std::string_view content_type, std::string_view body,
                       std::string_view head_fields = {}) = 0;
  /// Answers with the OpenAI-shaped error body.
  virtual void respond_error(int status, std::string_view type, std::string_view code,
                             std::string_view message) = 0;

  /// Begins a streamed answer (status 200).
  virtual void start_stream(std::string_view content_type, std::string_view head_fields = {}) = 0;
  /// Queues bytes. For text/event-stream each call passes whole events; the framework puts the
  /// usage comment before the terminal event itself (`data: [DONE]`, `event: message_stop`,
  /// `event: response.completed`), or last in finish() where there was none.
  /// Gives false once the request is stopped: bytes then go nowhere.
  virtual bool write(std::string_view bytes) = 0;
  virtual void finish() = 0;

  /// True while the peer reads too slowly: more than the write buffer is unsent.
  [[nodiscard]] virtual bool congested() const = 0;
  /// Blocks while congested(). Gives false if the request was stopped meanwhile.
  /// Threads: never the loop's.
  virtual bool wait_writable() = 0;
  /// `ready` runs on the loop thread when congestion ends. A later call replaces it.
  virtual void on_writable(std::function<void()> ready) = 0;

  /// The compute threads have let go. Exactly once per exchange, as the runtime's last call.
  virtual void release() = 0;
};
using WorkerExchangePtr = std::shared_ptr<WorkerExchange>;

}  // namespace stoker::worker
